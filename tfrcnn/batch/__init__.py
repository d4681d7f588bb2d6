"""Batch inference: `Detect` for engines that call a function with batches of rows, for example Ray Data and Spark.

    import ray, tfrcnn.batch

    pictures = ray.data.read_binary_files("pictures/", include_paths=True)
    detect = tfrcnn.batch.Detect("cells.onnx", threads=1)
    rows = pictures.map_batches(detect, batch_size=16, batch_format="pyarrow")
    rows.write_parquet("detections/")

`tfrcnn predict --engine ray` adds what a run of days needs: a finished block stays finished. Importing this module
imports neither TensorFlow nor an engine.
"""

from tfrcnn.batch.detect import SPARK_SCHEMA, Detect
from tfrcnn.installed import check_distribution

__all__ = ["SPARK_SCHEMA", "Detect"]

check_distribution()
