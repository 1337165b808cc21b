// Threads for one kernel call. They are started for the call and gone after it, so a process may
// fork between calls, and the calling thread stays free to notice Ctrl-C.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace cofactor {

// Runs task(t, worker) for t in [0, tasks), each once, in any order, on `threads` threads; `worker`
// counts from 0. `interrupted()` is asked every 50 ms by the calling thread; once it says yes, no
// further task is begun. Returns whether every task was run. Tasks must not throw.
template <class Task, class Interrupted>
bool parallel_for(std::int64_t tasks, int threads, Task&& task, Interrupted&& interrupted) {
  if (threads > tasks) threads = static_cast<int>(tasks);
  if (tasks == 1) {  // nothing to share out, nor to stop in between: a thread would take longer to start
    task(std::int64_t{0}, 0);
    return true;
  }
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable finished;
  int running = 0;

  auto work = [&](int worker) {
    while (!stop.load(std::memory_order_relaxed)) {
      const std::int64_t t = next.fetch_add(1, std::memory_order_relaxed);
      if (t >= tasks) break;
      task(t, worker);
    }
    // Notified under the lock: the caller may leave, and `finished` be gone, right after.
    std::lock_guard lock(mutex);
    --running;
    finished.notify_one();
  };

  std::vector<std::thread> pool;
  pool.reserve(threads > 0 ? threads : 0);
  for (int worker = 0; worker < threads; ++worker) {
    {
      std::lock_guard lock(mutex);
      ++running;
    }
    try {
      pool.emplace_back(work, worker);
    } catch (...) {  // the system gives no more threads: those that run do the work
      std::lock_guard lock(mutex);
      --running;
      break;
    }
  }
  if (pool.empty() && tasks > 0) {
    ++running;
    work(0);
  }
  {
    std::unique_lock lock(mutex);
    while (running > 0) {
      if (finished.wait_for(lock, std::chrono::milliseconds(50)) == std::cv_status::timeout && !stop) {
        lock.unlock();
        if (interrupted()) stop = true;
        lock.lock();
      }
    }
  }
  for (std::thread& t : pool) t.join();
  return !stop;
}

}  // namespace cofactor
