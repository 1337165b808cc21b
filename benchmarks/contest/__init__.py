"""The parts of ``peers.py``. ``contestant.py`` and ``adapters/`` run where the peers are and need NumPy alone."""
