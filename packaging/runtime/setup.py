"""The distribution tfrcnn-runtime: the package tfrcnn for exported files, without TensorFlow and Keras.

    pip install "./packaging/runtime[onnx]"    # in a clone; see docs/deployment.md

It holds all modules of tfrcnn, so that the two cannot drift apart: what needs TensorFlow says so in one line.
"""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = (ROOT / "tfrcnn" / "__init__.py").read_text(encoding="utf-8").splitlines()
VERSION = next(line.split('"')[1] for line in PACKAGE if line.startswith("__version__ = "))
PARTS = {"tfrcnn": "../../tfrcnn", "tfrcnn.export": "../../export"}


def packages(name: str, folder: str) -> list[str]:
    """List a package and those below it."""
    return [name, *[f"{name}.{below}" for below in find_packages(str(Path(__file__).parent / folder))]]


setup(
    name="tfrcnn-runtime",
    version=VERSION,
    description="Run the exported files of tfrcnn, without TensorFlow",
    long_description="Run ONNX, TFLite and OpenVINO files of tfrcnn: predict, evaluate, benchmark and Python.",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[name for part, folder in PARTS.items() for name in packages(part, folder)],
    package_dir=PARTS,
    package_data={
        "tfrcnn": ["py.typed"],
        "tfrcnn.drawing": ["explorer.html"],
        "tfrcnn.export.serving": ["*.md", "*.html", "*.yml", "config/*", "kubernetes/**/*"],
        "tfrcnn.report": ["templates/*"],
    },
    install_requires=[
        "numpy",
        "pillow>=12.1.1",
        "tqdm>=4.66.3",
        "typer>=0.19",
        # data sets and metrics, for `tfrcnn evaluate`; each takes less than 1 MB
        "defusedxml>=0.7",
        "pycocotools>=2.0.8",  # does not import matplotlib
        "pyyaml>=6",
    ],
    extras_require={
        "onnx": ["onnxruntime>=1.23"],
        "openvino": ["openvino>=2025.4"],
        "tflite": ["ai-edge-litert>=2.3"],
        # figures, and names in pictures that are not ASCII
        "plots": ["matplotlib>=3.8"],
        "report": ["jinja2>=3.1.6", "matplotlib>=3.8"],
        "serving": [
            "fastapi>=0.120.1",
            "prometheus-client>=0.20",
            "requests>=2.32.4",
            "starlette>=0.49.1",  # below fastapi
            "uvicorn>=0.30",
        ],
        "video": ["av>=14"],
    },
    entry_points={"console_scripts": ["tfrcnn = tfrcnn.cli.main:main"]},
    classifiers=[
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
