"""Read damaged CSV files of boxes: `python benchmarks/robustness/tables.py --count 50000`."""

from __future__ import annotations

import random
from pathlib import Path

from coco import damaged_bytes
from readers import HEIGHT, WIDTH, run
from voc import encoded, replace

FILES = [
    {
        "x.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n"
        f"a.png,{WIDTH},{HEIGHT},cell,1,2,30,20\nb.png,{WIDTH},{HEIGHT},dust,0,0,5.5,6\n",
        "label_map.pbtxt": "item {\n  id: 1\n  name: 'cell'\n}\nitem {\n  id: 2\n  name: \"dust\"\n}\n",
    },
    {"x.csv": "a.png,1,2,30,20,cell\nb.png,,,,,\na.png,0,0,5.5,6,dust\n", "classes.csv": "cell,0\ndust,1\n"},
    {
        "x.csv": "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
        "a,x,/m/1,1,0.1,0.5,0.2,0.4,0,0,1\nb,x,/m/2,1,0,1,0,1,0,0,0\n",
        "class-descriptions-boxable.csv": '/m/1,Cell\n/m/2,"Dust, fine"\n',
    },
]
TOKENS = [
    "", "0", "1", "-1", "1e309", "nan", "inf", "1_000", "\u0663", "0x10", "5.5", "9" * 400, "40", "41", "a.png", "b",
    "../a.png", "/dev/zero", '"', '""', "'", ",", ";", ",,,,,,", "\t", "\0", "\r", "\ufeff", "a" * 200_000, "é",
    "item {", "}", "id: 1", "id: -1", "name: 'x", "\\", "\\377", "display_name: 'cell'", "#", "{" * 500, "\x1b[31m",
]  # fmt: skip


def write(folder: Path, rng: random.Random) -> str:
    """Write a CSV and its list of classes, one or both damaged; sometimes a file is a pipe, a link or a folder."""
    chosen = rng.choice(FILES)
    for name in {name for files in FILES for name in files} - set(chosen):
        if (folder / name).exists():
            replace_by_nothing(folder / name)
    for name, text in chosen.items():
        if name == "x.csv" or rng.random() < 0.5:
            text = damaged(text, rng)
        data = encoded(text, rng)
        replace(folder / name, damaged_bytes(data or b"x", rng) if rng.random() < 0.1 else data, rng)
    return str(folder / "x.csv")


def replace_by_nothing(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()


def damaged(text: str, rng: random.Random) -> str:
    """Return a text with fields replaced, removed, repeated or added."""
    for _ in range(rng.randint(0, 3)):
        parts = text.replace(",", "\1,\1").replace(" ", "\1 \1").replace("\n", "\1\n\1").split("\1")
        position = rng.randrange(len(parts))
        token = rng.choice(TOKENS)
        parts[position] = rng.choice([token, parts[position] * 2, parts[position] + token, ""])
        text = "".join(parts)
    return text


if __name__ == "__main__":
    run(__doc__ or "", write)
