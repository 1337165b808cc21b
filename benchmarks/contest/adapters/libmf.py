"""LIBMF: stochastic gradient descent in C++, called as a library, so that no file is read. No biases but the mean.

``library`` is the path of libmf.so. The settings are those of its authors for such data: -l2 0.05 -r 0.1.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_bool, c_float, c_int, c_longlong, c_void_p

import numpy as np

from contest.adapters.base import Adapter, Parts

RATE = 0.1


class Problem(Structure):
    _fields_ = [("m", c_int), ("n", c_int), ("nnz", c_longlong), ("R", c_void_p)]


class Parameter(Structure):
    _fields_ = [
        *((name, c_int) for name in ("fun", "k", "nr_threads", "nr_bins", "nr_iters")),
        *(
            (name, c_float)
            for name in ("lambda_p1", "lambda_p2", "lambda_q1", "lambda_q2", "eta", "alpha", "c")
        ),
        *((name, c_bool) for name in ("do_nmf", "quiet", "copy_data")),
    ]


class Model(Structure):
    _fields_ = [
        *((name, c_int) for name in ("fun", "m", "n", "k")),
        ("b", c_float),
        ("P", POINTER(c_float)),
        ("Q", POINTER(c_float)),
    ]


class Libmf(Adapter):
    def prepare(self, train):
        self.library = ctypes.CDLL(self.options["library"])
        self.library.mf_get_default_param.restype = Parameter
        self.library.mf_train.argtypes = [POINTER(Problem), Parameter]
        self.library.mf_train.restype = POINTER(Model)
        self.library.mf_destroy_model.argtypes = [POINTER(POINTER(Model))]
        self.nodes = np.empty(len(train.values), [("u", "i4"), ("v", "i4"), ("r", "f4")])
        self.nodes["u"], self.nodes["v"], self.nodes["r"] = train.users, train.items, train.values
        self.problem = Problem(train.n_users, train.n_items, len(self.nodes), self.nodes.ctypes.data)

    def fit(self, rank, sweeps):
        wanted = self.library.mf_get_default_param()
        wanted.k, wanted.nr_threads, wanted.nr_iters = rank, self.threads, sweeps
        wanted.lambda_p2 = wanted.lambda_q2 = self.reg
        wanted.eta, wanted.quiet = RATE, True
        model = self.library.mf_train(ctypes.byref(self.problem), wanted)
        if not model:
            raise MemoryError("LIBMF gave no model")
        return model

    def parts(self, model):
        """A copy; the library's own memory is given back. Rows that it saw no rating of are NaN there."""
        found = model.contents
        shape = (found.m, found.k), (found.n, found.k)
        U, V = (np.nan_to_num(np.ctypeslib.as_array(X, s)) for X, s in zip((found.P, found.Q), shape))
        mean = float(found.b)
        self.library.mf_destroy_model(ctypes.byref(model))
        return Parts(mean, np.zeros(len(U)), np.zeros(len(V)), U, V)

    def predict(self, model, users, items):
        """LIBMF gives the mean for who is unknown, and a dot product alone for the rest."""
        parts = self.parts(model)
        found = parts._replace(mean=0.0).predict(users, items)
        return np.where((users < 0) | (items < 0), parts.mean, found)

    def version(self):
        return "from source"
