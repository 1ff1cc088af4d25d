"""Runs the recipe of docs/bulk.md on a local Spark.

usage: spark_recipe.py RECIPE.py IMAGES.npy OUTPUT.npz
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, SparkSession

RECIPE, IMAGES, OUTPUT = sys.argv[1:]


def main() -> None:
    spark = (
        SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    )
    images = np.load(IMAGES)
    rows = [(str(number), bytearray(image.tobytes())) for number, image in enumerate(images)]
    frame = spark.createDataFrame(rows, "id string, image binary").repartition(4)
    found: list[Any] = []

    class Frame:
        """The frame of the recipe, whose result is collected."""

        def mapInPandas(self, function: Any, schema: str) -> DataFrame:  # noqa: N802
            encoded = frame.mapInPandas(function, schema)
            found.extend(encoded.collect())
            return encoded

    exec(Path(RECIPE).read_text(), {"frame": Frame()})
    found.sort(key=lambda row: int(row["id"]))
    ids = np.array([int(row["id"]) for row in found])
    mean = np.array([row["mean"] for row in found], np.float32)
    log_var = np.array([row["log_var"] for row in found], np.float32)
    np.savez(OUTPUT, ids=ids, mean=mean, log_var=log_var)
    spark.stop()


if __name__ == "__main__":
    main()
