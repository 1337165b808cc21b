"""Spark MLlib: ALS with λ by the number of ratings and no biases, in one JVM, a thread a task."""

from __future__ import annotations

import os
from importlib.metadata import version

import numpy as np
import pandas as pd
from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession

from contest.adapters.base import Adapter, Parts


class Spark(Adapter):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        builder = SparkSession.builder.master(f"local[{self.threads}]").appName("peers")
        for key, value in {
            "spark.driver.memory": os.environ.get("SPARK_DRIVER_MEMORY", "4g"),
            "spark.ui.enabled": "false",
            "spark.log.level": "ERROR",
            "spark.sql.execution.arrow.pyspark.enabled": "true",
            "spark.sql.shuffle.partitions": str(self.threads),
        }.items():
            builder = builder.config(key, value)
        self.session = builder.getOrCreate()

    def prepare(self, train):
        frame = pd.DataFrame({"user": train.users, "item": train.items, "rating": train.values})
        self.frame = self.session.createDataFrame(frame).repartition(self.threads).cache()
        self.frame.count()
        self.shape = train.n_users, train.n_items

    def fit(self, rank, sweeps):
        blocks = {"numUserBlocks": self.threads, "numItemBlocks": self.threads}
        return ALS(rank=rank, maxIter=sweeps, regParam=self.reg, seed=1, **blocks).fit(self.frame)

    def parts(self, model):
        factors = []
        for frame, rows in ((model.userFactors, self.shape[0]), (model.itemFactors, self.shape[1])):
            found = frame.toPandas()
            factors.append(np.zeros((rows, model.rank), np.float32))
            factors[-1][found["id"].to_numpy()] = np.vstack(found["features"].to_numpy())
        return Parts(0.0, np.zeros(self.shape[0]), np.zeros(self.shape[1]), *factors)

    def processes(self):
        return [self.session.sparkContext._gateway.proc.pid]

    def version(self):
        return version("pyspark")
