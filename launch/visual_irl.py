"""Learning from watching: from video of a person to a reward, and from the reward to a cobot; one report.

robolearn run launch/visual_irl.py [--quick] [--out runs/visual_irl] [--recordings ../shared/data/onion_human]

Needs the extra `human` for the film and `robolearn keypoints install` for BlazePose; what is missing is left out of the report, which says so.
"""

# Rows of tables and sentences of the report are longer than a line.
# ruff: noqa: E501

import base64
import importlib.util
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import tyro

from robolearn.clock import MonotonicClock
from robolearn.data.store import Store
from robolearn.episode import Outcome
from robolearn.errors import DataFileError
from robolearn.intervals import wilson
from robolearn.keypoints.adversarial import Reward
from robolearn.keypoints.arm_maps import find_arm_map
from robolearn.keypoints.blazepose import BlazePoseConfig, installed
from robolearn.keypoints.detectors import Detector, KnownPoints, face_camera, project
from robolearn.keypoints.execution import Places, WatchedSorter
from robolearn.keypoints.judging import policy_of, reoptimise, sort
from robolearn.keypoints.lift import lift_with_depth
from robolearn.keypoints.onions import FEATURES, fit_arm
from robolearn.keypoints.postures import imitate
from robolearn.keypoints.quality import Rules, examine, repair
from robolearn.keypoints.recordings import SLOW, finer
from robolearn.keypoints.tracks import read_onions
from robolearn.keypoints.watching import recording_episode
from robolearn.observers import Memory
from robolearn.report import Section, paragraph, provenance, table, write_page
from robolearn.rollout import episode_seeds, rollout
from robolearn.runs import write_json
from robolearn.stages.reward import EVALUATION_SEED, RewardLearning, load_actor, load_reward
from sim.robots import ROBOTS
from sim.robots.chain import robot_chain
from sim.tasks.sort_onions import HIGH_M, LOW_M, SortOnionsConfig
from sim.tasks.sort_onions_places import BIN, CONVEYOR, EYE_M, ONIONS, on_place, slots

matplotlib.use("Agg")
ROBOT_SEED = 20261126
QUICK = {"rounds": 4, "rows": 8, "horizon": 30, "updates": 6, "warm_rounds": 2}


@dataclass(frozen=True)
class Study:
    """From video to robot, with every claim of the specification measured."""

    out: Path = Path("runs/visual_irl")
    """Folder of runs and the report."""
    recordings: Path = Path("../shared/data/onion_human")
    """Recordings of people (`robolearn.keypoints.tracks.read_onions`)."""
    seeds: int = 5
    """Learning seeds."""
    counts: tuple[int, ...] = (10, 5, 2)
    """How many recordings to learn from, the most first."""
    methods: tuple[str, ...] = ("airl_state", "gail", "airl_state_action")
    """Learned from all recordings."""
    starts: int = 20
    """Layouts that each robot sorts in physics."""
    robots: tuple[str, ...] = ("sawyer", "iiwa")
    """Who executes."""
    quick: bool = False
    """A small version that checks the machinery."""


def rounded(value: object) -> object:
    """Three digits of a number; anything else as it is."""
    return f"{value:.3f}" if isinstance(value, float) else value


def interval(values: list[float]) -> str:
    """Mean with a 95 % t interval over seeds."""
    mean, n = float(np.mean(values)), len(values)
    t = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}.get(n, 2.0)
    return f"{mean:.3f} ± {t * np.std(values, ddof=1) / np.sqrt(n):.3f}" if n > 1 else f"{mean:.3f} (one seed)"


def picture(figure: Any, path: Path, caption: str) -> str:
    """Save a figure and embed it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    path.write_bytes(buffer.getvalue())
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<figure><img style="max-width:100%" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'


def watch(study: Study) -> tuple[Section, dict]:
    """Film a simulated person, find and lift its points, and compare with the truth."""
    if importlib.util.find_spec("dm_control") is None:
        return Section("Watching", paragraph("dm_control is not installed (extra `human`); nobody was filmed.")), {}
    from matplotlib.figure import Figure

    from sim.human.body import POINTS, build_person
    from sim.human.film import film
    from sim.human.script import perform

    rows, facts, shown = [], {}, ""
    for face in (True, False):
        person = build_person(face=face)
        for seed in range(1 if study.quick else 3):
            performance = perform(person, seed, onions=1 if study.quick else 3)
            seen = film(person, performance, every=10 if study.quick else 3)
            truth, camera = performance.points[seen.frames], (seen.intrinsics, seen.T_world_camera)
            flat = project(truth, *camera)
            detectors: dict[str, Detector] = {"truth + 4 px": KnownPoints(tuple(POINTS), truth, *camera, error_px=4.0)}
            if installed():
                detectors["BlazePose"] = BlazePoseConfig().build()
            for name, detector in detectors.items():
                raw = detector.detect(seen.rgb)
                fixed, turned = face_camera(raw)
                for stage, found in (("raw", raw), ("fixed", fixed)):
                    tracks = lift_with_depth(found, seen.depth, *camera, rate_hz=5.0, source=f"film {seed}")
                    flags = examine(tracks, Rules(jump_m=0.6, flicker_m=0.3))
                    repaired, quality = repair(tracks, flags, Rules(jump_m=0.6, flicker_m=0.3, median=False))
                    solid = np.linalg.norm((repaired if stage == "fixed" else tracks).points - truth, axis=-1)
                    key = (name, "with a face" if face else "without a face", stage)
                    facts.setdefault(key, []).append(
                        (
                            np.linalg.norm(found.pixels - flat, axis=-1)[:, 3:],
                            solid[:, 3:],
                            raw.people > 0,
                            turned,
                            quality,
                        )
                    )
                if name == "BlazePose" and face and seed == 0:
                    figure = Figure(figsize=(12, 3.2), layout="constrained")
                    for axes, k in zip(
                        figure.subplots(1, 4), np.linspace(0, len(seen.rgb) - 1, 4).astype(int), strict=True
                    ):
                        axes.imshow(seen.rgb[k])
                        for side, colour in ((slice(0, 3), "deepskyblue"), (slice(3, 6), "red")):
                            axes.plot(*fixed.pixels[k, side].T, "o-", color=colour, ms=5, lw=2)
                        axes.plot(*flat[k].T, "w+", ms=8)
                        axes.set_axis_off()
                    shown = picture(
                        figure,
                        study.out / "detections.png",
                        "BlazePose after side repair (blue left, red right arm); white crosses: truth",
                    )
                detector.close()
    result = {}
    for (name, look, stage), parts in facts.items():
        flat_error, solid_error, found, turned = (np.concatenate([p[k] for p in parts]) for k in range(4))
        rejected = np.concatenate([p[4].rejected for p in parts])
        row = (
            f"{found.mean():.0%} of {len(found)}", f"{turned.mean():.0%}",
            *(f"{np.nanmedian(flat_error[:, p]):.1f} / {np.nanpercentile(flat_error[:, p], 90):.1f}" for p in range(3)),
            f"{100 * np.nanmedian(solid_error):.1f} / {100 * np.nanpercentile(solid_error, 90):.1f}",
            f"{rejected.mean():.0%}" if stage == "fixed" else "-",
        )  # fmt: skip
        rows.append((name, look, stage, *row))
        result[f"{name}, {look}, {stage}"] = row
    header = (
        "detector",
        "person",
        "",
        "found",
        "sides swapped",
        "shoulder px",
        "elbow px",
        "wrist px",
        "3-D cm",
        "rejected",
    )
    text = "Right arm, median / 90th percentile, against the truth of the simulated person; 3-D by the rendered depth."
    return Section("Watching a simulated person", shown + table(header, rows) + paragraph(text, note=True)), result


def posture(study: Study) -> tuple[Section, dict]:
    """Claims I4 to I6 on the recordings of people."""
    points, flagged = [], []
    for tracks in read_onions(study.recordings)[: 2 if study.quick else 10]:
        fixed, quality = repair(tracks, examine(tracks, SLOW), SLOW)
        points.append(finer(fixed.points[~quality.rejected]))
        flagged.append((tracks.source, len(tracks), *(count for _, count, _ in quality.table())))
    rows, result = [], {}
    for name in ("sawyer",) if study.quick else ("sawyer", "iiwa", "panda", "xarm7", "ur5e"):
        for method, m in imitate(find_arm_map(name), robot_chain(ROBOTS[name]), points, len(points) // 2).items():
            error = np.percentile(m.error_m, [50, 95]) * 1e3
            result[name, method] = m
            rows.append((name, method, f"{error[0]:.3f} / {error[1]:.3f}", f"{m.upper_deg.mean():.0f}", f"{m.forearm_deg.mean():.0f}", f"{m.travel_rad:.1f}", f"{m.roughness_rad:.3f}", f"{m.limited:.1%}"))  # fmt: skip
    header = (
        "robot",
        "method",
        "tool error mm, median / p95",
        "upper arm °",
        "forearm °",
        "travel rad",
        "2nd difference",
        "at limit",
    )
    names = ("recording", "frames", *(name for name, _, _ in quality.table()))
    text = (
        "Plain inverse kinematics moves less than any method that keeps the posture; the point of the map is posture."
    )
    body = table(header, rows) + paragraph(text, note=True) + table(names, flagged, fold="Quality of the recordings")
    return Section("A person's posture on a robot's arm", body), result


def learn(study: Study) -> tuple[Section, dict]:
    """Rewards from recordings: every method, count and seed; claims I1, I2, I3, I9."""
    people = study.out / "people"
    if not people.exists():
        with Store.create(people) as store:
            for tracks in read_onions(study.recordings):
                store.append(recording_episode(tracks))
    runs: dict[tuple[str, int], list[Path]] = {}
    jobs = [("airl_state", n) for n in study.counts] + [(method, study.counts[0]) for method in study.methods]
    jobs = [("airl_state", 10), ("gail", 10)] if study.quick else jobs
    for method, count in dict.fromkeys(jobs):
        for seed in range(1 if study.quick else study.seeds):
            overrides = QUICK if study.quick else {}
            stage = RewardLearning(
                str(people),
                {"method": method} | overrides,
                {},
                recordings=count,
                seed=seed,
                layouts=20 if study.quick else 200,
            )
            runs.setdefault((method, count), []).append(stage.run(study.out / f"reward_{method}_{count}_{seed}"))
            print(f"{method}, {count} recordings, seed {seed}: done", flush=True)
    rows, result = [], {}
    for (method, count), folders in runs.items():
        found = [json.loads((folder / "result.json").read_text()) for folder in folders]
        for who in ("learned", "cloned", "random") if method == "airl_state" else ("learned",):
            sorting = [f["sorting"][who] for f in found]
            numbers = {k: [s[k] or 0.0 for s in sorting] for k in ("precision", "recall", "true_return")}
            result[method, count, who] = numbers
            rows.append(
                (
                    method if who == "learned" else {"cloned": "cloning", "random": "random"}[who],
                    count,
                    *(interval(v) for v in numbers.values()),
                )
            )
        result[method, count, "audit"] = [f["audit"] for f in found]
        result[method, count, "lab"] = [(f["lba_percent"], f["lba_cloned_percent"], f["ile"]) for f in found]
    audits = [
        (method, count, *(interval([a[k] for a in result[method, count, "audit"]]) for k in ("starc", "rank", "auc", "spread")),
         *(interval([lab[k] for lab in result[method, count, "lab"]]) for k in range(3)))
        for method, count in runs
    ]  # fmt: skip
    best = next(iter(runs.values()))
    noise = [
        (
            cm,
            interval(
                [
                    sort(
                        policy_of(load_actor(f), 0),
                        layouts=20 if study.quick else 200,
                        seed=EVALUATION_SEED,
                        noise_m=cm / 100,
                    ).recall.value
                    for f in best
                ]
            ),
        )
        for cm in (0, 2, 5, 10)
    ]
    transfer = []
    for k, folder in enumerate(best):
        network: Reward = load_reward(folder).network
        human = reoptimise(network, load_actor(folder), rounds=0, reach_m=0.75, seed=EVALUATION_SEED + k)[1]
        before, after = reoptimise(
            network, load_actor(folder), rounds=1 if study.quick else 25, reach_m=0.25, seed=EVALUATION_SEED + k
        )
        transfer.append((human, before, after, after / human))
    result["noise"], result["transfer"], result["best"] = noise, transfer, best
    body = (
        heat_map(study, best[0])
        + table(("policy", "recordings", "precision", "recall", "true return"), rows)
        + table(("method", "recordings", "STARC", "rank", "AUC", "spread", "LBA %", "LBA of cloning %", "ILE"), audits)
        + table(("tracker's error cm", "recall"), noise)
        + table(
            ("return in human space", "slower hand, as it is", "re-optimised on frozen g", "ratio"),
            [tuple(map(rounded, t)) for t in transfer],
        )
        + paragraph(
            "Means over seeds with 95 % t intervals. An onion that was not sorted within 100 steps is a miss.",
            note=True,
        )
    )
    return Section("Rewards from people", body), result


def heat_map(study: Study, folder: Path) -> str:
    """g over the table, seen from above, for an onion in the hand that was looked at, and for an empty hand."""
    from matplotlib.figure import Figure

    reward = load_reward(folder).network
    x, y = np.meshgrid(np.linspace(0.35, 0.95, 60), np.linspace(-0.65, 0.75, 80))
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, (title, z, held, label) in zip(
        figure.subplots(1, 3),
        (
            ("empty hand, low", 0.80, 0, 0),
            ("blemished onion in the hand", 1.0, 1, -1),
            ("good onion in the hand", 0.82, 1, 1),
        ),
        strict=True,
    ):
        seen = np.zeros((x.size, len(FEATURES)))
        seen[:, :3] = (np.column_stack([x.ravel(), y.ravel(), np.full(x.size, z)]) - [0.6, 0.0, 0.95]) / 0.3
        if not held:
            seen[:, 3:6] = (
                np.array([0.74, 0.0, 0.77]) - np.column_stack([x.ravel(), y.ravel(), np.full(x.size, z)])
            ) / 0.3
        seen[:, 6:] = held, label, held
        value = reward.values(seen, np.zeros((len(seen), 3)))[0].reshape(x.shape)
        image = axes.pcolormesh(y, x, value, cmap="viridis", shading="auto")
        axes.invert_xaxis()
        axes.set(title=title, xlabel="y, m (bin left, conveyor right)", ylabel="x, m")
        figure.colorbar(image, ax=axes, shrink=0.8)
    return picture(figure, study.out / "reward_map.png", "Learned reward g over the hand's place, seed 0")


def execute(study: Study, folders: list[Path]) -> tuple[Section, dict]:
    """Claim I7: the learned sorter on robots in physics, in `sort_onions`, through `rollout`."""
    points = []
    for tracks in read_onions(study.recordings):
        fixed, quality = repair(tracks, examine(tracks, SLOW), SLOW)
        points.append(fixed.points[~quality.rejected])
    places = Places(
        LOW_M,
        HIGH_M,
        EYE_M,
        np.column_stack([slots(BIN), np.full(5, 0.085)]),
        np.column_stack([slots(CONVEYOR), np.full(5, 0.065)]),
    )
    rows, result, shown = [], {}, ""
    for robot in study.robots[:1] if study.quick else study.robots:
        per_seed = []
        for k, folder in enumerate(folders[:1] if study.quick else folders):
            count = 1 if study.quick else max(1, study.starts // len(folders))
            env = SortOnionsConfig(n=count, robot=robot, command="joints", horizon=300 if study.quick else 2400).build()
            arm = find_arm_map(robot).upright()
            policy = WatchedSorter(
                env, policy_of(load_actor(folder), k), robot_chain(ROBOTS[robot]), arm, fit_arm(points), places, ONIONS
            )
            memory = Memory()
            done = rollout(env, policy, seeds=episode_seeds(count, ROBOT_SEED + k), observers=[memory])
            env.close()
            for episode in memory.episodes.values():
                last = np.stack([episode.observations[f"{o}.position"][-1] for o in ONIONS])
                per_seed.append(
                    (
                        on_place(last, BIN) | on_place(last, CONVEYOR),
                        episode.outcome is Outcome.SUCCESS,
                        episode.steps / 20.0,
                    )
                )
            print(robot, folder.name, [d.outcome.name for d in done], flush=True)
        wins = [w for _, w, _ in per_seed]
        result[robot] = wilson(sum(wins), len(wins))
        rows.append(
            (
                robot,
                str(result[robot]),
                f"{np.mean([p.mean() for p, _, _ in per_seed]):.0%}",
                f"{np.median([s for _, _, s in per_seed]):.0f} s",
            )
        )
    text = "Success: all five onions lie where they belong. The label is shown only at the inspection pose."
    return Section(
        "On a robot, in physics",
        shown
        + table(("robot", "all five right [95 %]", "onions put away", "median time"), rows)
        + paragraph(text, note=True),
    ), result


def claims(postures: dict, learned: dict, robots: dict, count: int) -> list[tuple[str, str, str, str]]:
    """The specification's claims with their pass marks."""
    airl = learned["airl_state", count, "learned"]
    cloned, chance = learned["airl_state", count, "cloned"], learned["airl_state", count, "random"]
    audit = learned["airl_state", count, "audit"]
    smooth, plain = postures["sawyer", "minimal smooth"], postures["sawyer", "plain"]
    error = np.percentile(smooth.error_m, [50, 95]) * 1e3
    ratio = smooth.travel_rad / plain.travel_rad
    five = dict(learned["noise"])[5]
    transfer = float(np.mean([t[3] for t in learned["transfer"]]))
    p, r = float(np.mean(airl["precision"])), float(np.mean(airl["recall"]))
    a, s = (float(np.mean([x[k] for x in audit])) for k in ("auc", "rank"))
    kept = max(smooth.upper_deg.mean(), smooth.forearm_deg.mean())
    lost = min(plain.upper_deg.mean(), plain.forearm_deg.mean())
    rows = [
        ("I1", f"AIRL from {count} recordings: precision {interval(airl['precision'])}, recall {interval(airl['recall'])}; cloning {interval(cloned['precision'])}, {interval(cloned['recall'])}; random {interval(chance['precision'])}, {interval(chance['recall'])}", "both ≥ 0.9", p >= 0.9 and r >= 0.9),
        ("I2", f"AUC {a:.2f}, rank correlation with the true return {s:.2f}", "≥ 0.9 and ≥ 0.7", a >= 0.9 and s >= 0.7),
        ("I3", f"recall with 5 cm of noise {five}", "≥ 0.8", float(five.split()[0]) >= 0.8),
        ("I4", f"direction error at most {kept:.0f}° with the map, at least {lost:.0f}° without", "≤ 30° against ≥ 90°", kept <= 30 and lost >= 90),
        ("I5", f"tool error median {error[0]:.3f} mm, p95 {error[1]:.3f} mm (Sawyer)", "< 1 and < 5 mm", error[0] < 1 and error[1] < 5),
        ("I6", f"travel {ratio:.2f} x that of plain inverse kinematics: more, not less", "≤ 1.6 x", ratio <= 1.6),
        ("I7", "; ".join(f"{name} {rate}" for name, rate in robots.items()), "both ≥ 0.85", len(robots) > 1 and min(v.value for v in robots.values()) >= 0.85),
        ("I8", "pouring: not done in this study", "≥ 0.8", None),
        ("I9", f"re-optimised for a slower hand with frozen g: {transfer:.2f} of the return in human space", "≥ 0.8", transfer >= 0.8),
    ]  # fmt: skip
    return [
        (id, text, mark, "not measured" if ok is None else "pass" if ok else "MISSED") for id, text, mark, ok in rows
    ]


def main(study: Study) -> None:
    """Run everything; rewards that are finished in the folder are not learned again."""
    if not study.recordings.exists():
        raise DataFileError(
            f"Expected recordings of people in {study.recordings}; give their folder with --recordings."
        )
    torch.set_num_threads(1)
    study.out.mkdir(parents=True, exist_ok=True)
    clock, walls = MonotonicClock(), []

    def timed(name: str, work, *arguments):
        start = clock.now()
        found = work(*arguments)
        walls.append((name, f"{clock.now() - start:.0f} s"))
        print(f"{name}: {walls[-1][1]}", flush=True)
        return found

    seen, detections = timed("watching", watch, study)
    imitated, postures = timed("postures", posture, study)
    rewarded, learned = timed("rewards", learn, study)
    executed, robots = timed("robots", execute, study, learned["best"])
    rows = claims(postures, learned, robots, 10 if study.quick else study.counts[0])
    write_json(study.out / "claims.json", {"claims": rows, "walls": walls, "detections": detections})
    for row in rows:
        print(*row, sep=" | ")
    note = paragraph("A quick run: its numbers mean nothing.", note=True) if study.quick else ""
    sections = [
        Section("Claims", note + table(("claim", "measured", "pass mark", "verdict"), rows)),
        seen, imitated, rewarded, executed,
        Section("How this was made", table(("part", "wall time"), walls) + provenance({"recordings": study.recordings, "evaluation seed": EVALUATION_SEED, "robots' seed": ROBOT_SEED, "learning seeds": f"0 to {study.seeds - 1}"})),
    ]  # fmt: skip
    lead = "A reward learned from watching people sort onions, and a robot that works by it."
    print("Report:", write_page(study.out / "report.html", "Learning from watching", lead, sections))


if __name__ == "__main__":
    main(tyro.cli(Study, description=Study.__doc__))
