"""Packaging of tfrcnn. pyproject.toml holds the tools' settings only."""

import os
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
PACKAGE = (HERE / "tfrcnn" / "__init__.py").read_text(encoding="utf-8").splitlines()
VERSION = next(line.split('"')[1] for line in PACKAGE if line.startswith("__version__ = "))

# `tensorflow` is what users expect (with GPU support on Linux). Where there is no GPU, the smaller CPU build of the
# same release serves: TFRCNN_TENSORFLOW=tensorflow-cpu pip install .   (the Makefile does so when it finds no GPU)
TENSORFLOW = os.environ.get("TFRCNN_TENSORFLOW", "tensorflow")
CHOICES = ("tensorflow", "tensorflow-cpu", "tensorflow[and-cuda]")
if TENSORFLOW not in CHOICES:
    raise SystemExit(f"TFRCNN_TENSORFLOW must be one of {', '.join(CHOICES)}, found {TENSORFLOW!r}")

# Lower bounds are the first release without a known vulnerability, or the first with what is used. An upper bound says
# what breaks. docs/compatibility.md has both lists.

# The site of `make docs`; latex2mathml renders its equations, so that no page needs a script from another host.
# nbconvert makes its slides. MkDocs 2 has no plugins, and mkdocs-material does not run on it.
DOCS = ["latex2mathml>=3.78", "mkdocs>=1.6,<2", "mkdocs-material>=9.7", "mkdocstrings[python]>=1.0", "nbconvert>=7.16"]

FONTS = ["manimgx-fonts>=2026.9", "noto-cjk-sans-jp-regular>=0.0.1"]

setup(
    name="tfrcnn",
    version=VERSION,
    description="Faster R-CNN for TensorFlow and Keras, made to be deployed",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        "tfrcnn",
        "tfrcnn.batch",
        "tfrcnn.buckets",
        "tfrcnn.cli",
        "tfrcnn.data",
        "tfrcnn.data.augment",
        "tfrcnn.drawing",
        "tfrcnn.evaluation",
        "tfrcnn.export",
        "tfrcnn.export.check",
        "tfrcnn.export.measure",
        "tfrcnn.export.onnx",
        "tfrcnn.export.saved_model",
        "tfrcnn.export.serving",
        "tfrcnn.export.tflite",
        "tfrcnn.kernels",
        "tfrcnn.layers",
        "tfrcnn.models",
        "tfrcnn.models.backbones",
        "tfrcnn.predicting",
        "tfrcnn.report",
        "tfrcnn.training",
        "tfrcnn.views",
        "tfrcnn.weights",
    ],
    package_dir={"tfrcnn.export": "export"},
    package_data={
        "tfrcnn": ["py.typed"],
        "tfrcnn.drawing": ["explorer.html"],
        "tfrcnn.export.serving": ["README.md", "page.html", "docker-compose.yml", "config/*", "kubernetes/**/*"],
        "tfrcnn.report": ["templates/*"],
    },
    install_requires=[
        f"{TENSORFLOW}>=2.15,<2.22",
        "keras>=2.15,<4",
        "numpy>=1.26",
        "pycocotools>=2.0.7",
        "pillow>=12.1.1",
        "defusedxml>=0.7",
        "jinja2>=3.1.6",
        "pyyaml>=6",
        "matplotlib>=3.8",
        "tqdm>=4.66.3",
        "typer>=0.19",
    ],
    extras_require={
        # End of life. It imports next to TensorFlow 2.15 and Keras 2 only, and has wheels up to Python 3.11.
        "addons": [
            f"{TENSORFLOW}>=2.15,<2.16; python_version < '3.12'",
            "tensorflow-addons>=0.23; python_version < '3.12'",
        ],
        # MIT; its successor albumentationsx is AGPL
        "albumentations": ["albumentations>=2.0"],
        "docs": DOCS,
        # Noto fonts for names in other scripts than Latin, Greek, Cyrillic, Arabic and Hebrew, in pictures and figures
        "fonts": FONTS,
        "demo": ["scikit-learn>=1.5"],
        "notebooks": ["jupyterlab>=4.4.8", "scikit-learn>=1.5"],
        # tf2onnx 1.17 was tried with TensorFlow 2.21; int8 is made by onnxruntime's quantization. pip would choose onnx
        # 1.19.0 next to TensorFlow 2.15 to 2.17, whose ml-dtypes it does not import with.
        "onnx": ["tf2onnx>=1.17", "onnx>=1.17,!=1.19.0", "onnxruntime>=1.23"],
        "openvino": ["openvino>=2025.4"],
        "ray": ["ray[data,serve]>=2.54", "pyarrow>=17", "pandas>=2.2"],
        "serving": [
            "fastapi>=0.120.1",
            "pillow>=12.1.1",
            "prometheus-client>=0.20",
            "requests>=2.32.4",
            "starlette>=0.49.1",  # below fastapi
            "uvicorn>=0.30",
        ],
        # the COCO metric of many images in less time
        "fast-eval": ["faster-coco-eval>=1.6"],
        # data in buckets and on web servers; hdfs:// also needs pyarrow
        "remote": ["fsspec>=2024.6", "s3fs>=2024.6", "gcsfs>=2024.6", "aiohttp>=3.13.4"],
        # TensorFlow before 2.21 needs the release of the same number
        "tensorboard": ["tensorboard>=2.15"],
        "video": ["av>=14"],  # with its own FFmpeg
        "wandb": ["wandb>=0.18"],
        # MLflow without its server and scikit-learn; the other two write its file mlflow.db
        "mlflow": ["mlflow-skinny>=3.1", "alembic>=1.13", "sqlalchemy>=2"],
        "tune": ["optuna>=4"],
        "weights": ["safetensors>=0.4"],
        "tfds": ["tensorflow-datasets>=4.9"],
        "tflite": ["ai-edge-litert>=2.3", "ai-edge-quantizer>=0.10"],
        "dev": [
            *DOCS,
            *FONTS,
            "ai-edge-litert>=2.3",
            "ai-edge-quantizer>=0.10",
            "aiohttp>=3.13.4",
            "albumentations>=2.0",
            "av>=14",
            "build",
            "faster-coco-eval>=1.6",
            "fastapi>=0.120.1",
            "flask>=3",  # with flask-cors, for moto's server, whose extra is all of AWS
            "flask-cors>=5",
            "fsspec>=2024.6",
            "grafana-foundation-sdk",
            "hypothesis",
            "imagehash>=4.3",
            "ipykernel>=6.29",
            "kubernetes-validate>=1.34",
            "mlflow-skinny>=3.1",
            "moto[s3]>=5",
            "mypy",
            "nbclient>=0.10",
            "nbformat>=5.10",
            "onnx>=1.19",
            "onnxruntime>=1.23",
            "onnxslim>=0.1.90",
            "openvino>=2025.4",
            "optuna>=4",
            "pandas>=2.2",
            "playwright>=1.50",
            "pre-commit",
            "prometheus-client>=0.20",
            "promql-parser>=0.5",
            "pyarrow>=17",
            "pytest",
            "pytest-xdist",
            "ray[data,serve]>=2.54",
            "requests>=2.32.4",
            "ruff",
            "s3fs>=2024.6",
            "safetensors>=0.4",
            "schemathesis>=4",
            "scikit-learn>=1.5",
            "supervision>=0.26",
            "sympy>=1.12",
            "tensorboard>=2.20",
            "tf2onnx>=1.17",
            "uvicorn>=0.30",
            "wandb>=0.18",
        ],
    },
    entry_points={"console_scripts": ["tfrcnn = tfrcnn.cli.main:main"]},
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Education",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
