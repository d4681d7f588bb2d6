"""Table 2: shared and unshared features, and one detector tested with other proposals.

    python benchmarks/paper/table2.py --train VOC2007@trainval --val VOC2007@test --test VOC2007@test --model zf \\
        --backbone-weights FILE --epochs 32 --out runs/table2

Three networks are trained with equal budget (`--epochs`, see `tfrcnn.training.schemes`). The features of the unshared
network do not depend on its RPN. It is then tested with other numbers of proposals, with random proposals ("no cls")
and with anchors in place of regressed boxes ("no reg"). The paper's ablation trains the detector on Selective Search;
this program trains it on the proposals of its RPN.
"""

from __future__ import annotations

from collections.abc import Sequence

from experiment import HEADER, Experiment, parse, row, run, table

from tfrcnn.config import ProposalConfig

ALL = 6000
# scheme: the paper's mAP on VOC07 test with ZF
SCHEMES = {"joint": None, "alternating": 59.9, "unshared": 58.7}


def tests(default: ProposalConfig) -> list[tuple[str, float, ProposalConfig]]:
    """Return the name, the paper's mAP and the proposal options of each test of the unshared detector."""

    def best(count: int) -> ProposalConfig:
        return default.replace(pre_nms_top_n=max(count, default.pre_nms_top_n), post_nms_top_n=count)

    def unranked(count: int) -> ProposalConfig:
        return default.replace(pre_nms_top_n=count, post_nms_top_n=count, nms_iou=1.0, use_scores=False)

    return [
        *((f"{n} proposals", paper, best(n)) for n, paper in ((100, 55.1), (300, 56.8), (1000, 56.3))),
        (f"{ALL} proposals, no NMS", 55.2, best(ALL).replace(nms_iou=1.0)),
        *((f"{n}, no cls", paper, unranked(n)) for n, paper in ((100, 44.6), (300, 51.4), (1000, 55.8))),
        *((f"{n}, no reg", paper, best(n).replace(use_deltas=False)) for n, paper in ((300, 52.1), (1000, 51.3))),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    experiment = Experiment(parse(__doc__ or "", arguments))
    folders = {scheme: experiment.train(scheme, scheme) for scheme in SCHEMES}
    rows = [row(scheme, paper, experiment.measure(folders[scheme])) for scheme, paper in SCHEMES.items()]
    for name, paper, proposals in tests(experiment.config.test_proposals):
        rows.append(row(f"unshared, {name}", paper, experiment.measure(folders["unshared"], test_proposals=proposals)))
    print(f"\n{table(('table 2', 'paper: mAP, %', *HEADER), rows)}")


if __name__ == "__main__":
    run(main)
