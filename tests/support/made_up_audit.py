"""An audit that nobody made: no number in it was measured."""

from typing import Any

import numpy as np

from skelanon.audit.results import Attack, Audit, Channel, Finding, Floor, Inversion, Linkage, Shape, TaskRecord, Weak
from skelanon.audit.statistics import Interval, wilson

FAMILIES = ("proportions", "frame", "st_gcn", "tcn")
TRIALS, ACTIONS, GENDER, USEFUL = "identity across trials", "identity across actions", "gender", "action recognition"
SCORES = {
    "raw": {TRIALS: 0.995, ACTIONS: 0.95, GENDER: 0.99, USEFUL: 0.95},
    "noise=0.05": {TRIALS: 0.91, ACTIONS: 0.78, GENDER: 0.88, USEFUL: 0.88},
    "template": {TRIALS: 0.97, ACTIONS: 0.905, GENDER: 0.71, USEFUL: 0.94},
    "runs/residual/model.onnx": {TRIALS: 0.61, ACTIONS: 0.15, GENDER: 0.52, USEFUL: 0.91},
}
PRIORS = {TRIALS: 0.125, ACTIONS: 0.125, GENDER: 0.5, USEFUL: 0.04}
CLASSES = {TRIALS: 8, ACTIONS: 8, GENDER: 2, USEFUL: 27}
TRIED = 429


def around(score: float, wide: float = 0.05) -> Interval:
    return Interval(max(0.0, score - wide), min(1.0, score + wide))


def task(name: str, /, **changes: Any) -> TaskRecord:
    label = {TRIALS: "subject", ACTIONS: "subject", GENDER: "gender", USEFUL: "action"}[name]
    values = {
        "name": name, "label": label, "use": "utility" if name == USEFUL else "private",
        "classes": tuple(range(1, CLASSES[name] + 1)), "learned": 432, "validated": 65, "tried": TRIED, "persons": 8,
        "duplicates": 0, "unseen": 0, "prior": PRIORS[name], "prior_interval": wilson(PRIORS[name], TRIED),
        "known": 0.99 if name == TRIALS else None,
    }  # fmt: skip
    return TaskRecord(**(values | changes))


def finding(release: str, name: str) -> Finding:
    score, size = SCORES[release][name], CLASSES[name]
    random = np.random.default_rng(size)
    wrong = (1 - score) / (size - 1)
    confusion = random.multinomial(TRIED // size, np.eye(size) * (score - wrong) + wrong)
    return Finding(
        release=release, task=name, family="st_gcn", score=score, interval=around(score),
        told=score - 0.05 > wilson(PRIORS[name], TRIED).high,
        of_persons={person: min(1.0, score + 0.04 * (person - 4.5)) for person in range(1, 9)},
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )  # fmt: skip


def attacks(release: str, name: str) -> list[Attack]:
    made = []
    for number, family in enumerate(FAMILIES):
        best, prior = SCORES[release][name], PRIORS[name]
        score = best if family == "st_gcn" else best - 0.1 * (best - prior) * (4 - number)
        ignorant = prior + 0.05 * (number + 1) * (best - prior)
        of_template = {"from template": ignorant / 7} if release not in ("raw", "template") and name == USEFUL else {}
        others = {} if release == "raw" else {"ignorant": ignorant, **of_template}
        for threat, told in {"adaptive": score, **others}.items():
            course: dict[str, Any] = {"threat": threat, "epochs": (41, 38, 55), "counts": family != "frame"}
            found = {"scores": (told,) * 3, "interval": around(told)}
            made.append(Attack(release=release, task=name, family=family, kind="clip", **(course | found)))
    return made


def an_audit(**changes: Any) -> Audit:
    """A made-up one: no number in it was measured."""
    pairs = [(release, name) for release in SCORES for name in PRIORS]
    values: dict[str, Any] = {
        "data": "utd_mhad", "fingerprint": "5f" * 32, "sequences": 861, "seeds": (0, 1, 2),
        "releases": {release: f"{number:064x}" for number, release in enumerate(SCORES)},
        "tasks": tuple(task(name) for name in PRIORS),
        "attacks": tuple(attack for pair in pairs for attack in attacks(*pair)),
        "findings": tuple(finding(*pair) for pair in pairs),
        "weak": (Weak(task=TRIALS, family="frame", score=0.61, needed=0.9, converged=True),),
        "failed": (),
        "shapes": tuple(
            Shape(release=release, rmse_m=n / 100, mpjpe_m=n / 50, bone_spread_m=0.003, jerk=1 + n, withheld=n / 1000,
                  shared_least=1, shared_median=1 + n / 2)
            for n, release in enumerate(SCORES)
        ),
        "channels": (
            Channel(release="template", task=TRIALS, name="duration", score=0.31, interval=around(0.31), told=True),
            Channel(release="template", task=TRIALS, name="ids", score=0.12, interval=around(0.12), told=False),
        ),
        "floors": tuple(
            Floor(release=name, task=TRIALS, label="action", score=0.27, interval=around(0.27))
            for name in SCORES
        ),
        "linkage": tuple(
            Linkage(release=release, gallery="released", learned=6, persons=2,
                    auc=0.83, auc_interval=around(0.83), eer=0.2, tpr_at_1_fpr=0.2, converged=True)
            for release in SCORES if release != "raw"
        ),
        "inversions": (
            Inversion(
                release="template", task=TRIALS, mpjpe_m=0.03, mpjpe_released_m=0.06, bone_error_m=0.008,
                bone_error_guess_m=0.014, read_again=0.7, interval=around(0.7), converged=True,
            ),
        ),
        "settings": {"person": "subject", "tasks": [{"name": TRIALS, "split": {"by": "trial", "test": [3, 4]}}]},
    }  # fmt: skip
    return Audit(**(values | changes))
