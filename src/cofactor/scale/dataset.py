"""TEMPORARY stand-in."""
from __future__ import annotations
import hashlib, json, os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from cofactor.ids import IdMap

GROUP_RATINGS = 1 << 21
ROW_GROUP = 1 << 20

def group_of(users, n):
    x = users.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) % np.uint64(n)).astype(np.int64)

@dataclass(frozen=True)
class GroupFiles:
    paths: tuple
    code_book: object
    n_items: int

@dataclass
class Group:
    users: object; indptr: object; items: object; values: object; held_users: object; held_items: object; held_values: object

def read_group(files):
    path, size, sha = files.paths[0]
    data = Path(path).read_bytes()
    assert hashlib.sha256(data).hexdigest() == sha
    t = pq.read_table(pa.BufferReader(data), use_threads=False).combine_chunks()
    users = t["user"].chunk(0)
    u = users.to_numpy()
    new = np.empty(len(u), bool); new[:1] = True
    np.not_equal(u[1:], u[:-1], out=new[1:])
    starts = np.flatnonzero(new)
    items = t["item"].chunk(0).to_numpy(); values = files.code_book[t["rating"].chunk(0).to_numpy()]
    held = t["held"].chunk(0).to_numpy(zero_copy_only=False)
    counts = np.diff(np.append(starts, len(u)))
    if held.any():
        at = np.flatnonzero(held)
        rows = (np.searchsorted(starts, at, side="right") - 1).astype(np.int32)
        kept = ~held
        counts = counts - np.bincount(rows, minlength=len(starts))
        hu, hi, hv = rows, items[at], values[at]
        items, values = items[kept], values[kept]
    else:
        hu, hi, hv = np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Group(users.take(pa.array(starts)), indptr, items, values, hu, hi, hv)

class DatasetWriter:
    def __init__(self, path, *, n_groups, item_ids, code_book, user_type, scale, holdout=0.0):
        self.path = Path(path); (self.path / "groups").mkdir(parents=True)
        self.a = dict(n_groups=n_groups, code_book=[float(x) for x in code_book], scale=list(scale), groups=[None]*n_groups)
        self.book = np.asarray(code_book, np.float32); self.item_ids = item_ids; self.counts = np.zeros(len(item_ids), np.int64); self.codes = np.zeros(256, np.int64); self.held = 0
        self.users=0
    def write_group(self, k, users, items, codes, held):
        t = pa.table({"user": users, "item": items, "rating": codes, "held": held})
        f = self.path / "groups" / f"{k:05d}-0.parquet"
        enc = {"user": "DELTA_BINARY_PACKED", "item": "DELTA_BINARY_PACKED", "rating": "PLAIN", "held": "RLE"}
        pq.write_table(t, f, row_group_size=ROW_GROUP, compression="zstd", compression_level=3, use_dictionary=False, column_encoding=enc)
        d = f.read_bytes()
        nu = int((users[1:] != users[:-1]).sum()) + 1 if len(users) else 0
        self.a["groups"][k] = [str(f), len(d), hashlib.sha256(d).hexdigest(), len(users) - int(held.sum()), nu]
        self.users += nu
        self.counts += np.bincount(items[~held], minlength=len(self.counts)); self.codes += np.bincount(codes[~held], minlength=256); self.held += int(held.sum())
    def close(self):
        n = int(self.codes.sum()); self.a["mean"] = float((self.codes[:len(self.book)] * self.book.astype(float)).sum() / n)
        self.a.update(n_users=self.users, n_ratings=n, n_held=self.held)
        pq.write_table(pa.table({"item": self.item_ids, "count": self.counts}), self.path / "items.parquet")
        (self.path / "meta.json").write_text(json.dumps(self.a))
        return Dataset.open(self.path)

class Dataset:
    @classmethod
    def open(cls, path):
        self = cls(); self.path = Path(path); text = (self.path / "meta.json").read_bytes(); self.id = hashlib.sha256(text).hexdigest()
        self.a = json.loads(text)
        for k in ("n_groups", "n_users", "n_ratings", "n_held", "mean"): setattr(self, k, self.a[k])
        self.scale = tuple(self.a["scale"]); self.code_book = np.array(self.a["code_book"], np.float32)
        self.t = pq.read_table(self.path / "items.parquet")
        self.n_items = len(self.t)
        self.group_sizes = [(g[3], g[4]) for g in self.a["groups"]]
        return self
    @cached_property
    def item_ids(self): return IdMap.encode(self.t["item"].combine_chunks())[0]
    @cached_property
    def item_numbers(self):
        at = self.item_ids.positions(self.t["item"].combine_chunks()); n = np.empty(len(at), np.int32); n[at] = np.arange(len(at)); return n
    @property
    def item_counts(self): return self.t["count"].combine_chunks().to_numpy()
    @property
    def no_users(self): return pa.array([], pa.int64())
    def files(self, k):
        g = self.a["groups"][k]; return GroupFiles(((g[0], g[1], g[2]),), self.code_book, self.n_items)
