"""The command line. Heavy libraries are imported by the command that needs them, so that `--help` answers at once."""

import argparse
import json
import logging
import os
import select
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from synthgate import __version__
from synthgate.errors import ArtefactError, IntakeError, ParamsError, SynthgateError

NOTICE = "Research use only."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors a user can act upon are printed and end with exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    parsed = parser().parse_args(arguments)
    try:
        code = int(parsed.run(parsed) or 0)
        sys.stdout.flush()
        return code
    except SynthgateError as error:
        print(f"synthgate: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _unread():
            return 2
        # a fault of the program is no verdict: its exit code must not read as "rejected"
        traceback.print_exc()
        print("synthgate: the above is a fault of synthgate; please report it", file=sys.stderr)
        return 2


def _unread() -> bool:
    """Whether whoever reads standard output has enough, as `head` has; nothing more is written to it then."""
    output = select.poll()
    output.register(1, 0)
    gone = any(event & select.POLLERR for _, event in output.poll(0))
    if gone:  # Python would complain once more when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return gone


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="synthgate",
        description=f"Decides whether synthetic medical images may be trained on. {NOTICE}",
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    new = commands.add_parser("phantom", help="simulate patients into a new cohort folder")
    new.add_argument("out", type=Path, metavar="OUT")
    new.add_argument("--study", default="brain")
    new.add_argument("--patients", type=int, required=True, metavar="N")
    new.add_argument("--seed", type=int, default=0, metavar="S")
    new.set_defaults(run=_phantom)

    new = commands.add_parser("adopt", help="check a data set and make it data/<study>")
    new.add_argument("source", type=Path, metavar="SOURCE")
    new.add_argument("--layout", required=True, choices=("cohort", "brats", "lgg"))
    new.add_argument("--study", required=True)
    new.add_argument("--dry-run", action="store_true", help="only report what the checks find")
    new.set_defaults(run=_adopt)

    new = commands.add_parser("params", help="print the resolved parameters, or merge a preset into params.yaml")
    new.set_defaults(run=_params)
    actions = new.add_subparsers(metavar="use NAME")
    use = actions.add_parser("use", help="merge presets/NAME.yaml into params.yaml")
    use.add_argument("name", metavar="NAME")
    use.set_defaults(run=_use)

    new = commands.add_parser("doctor", help="check the environment and estimate time, memory and disk")
    new.add_argument("--json", action="store_true")
    new.set_defaults(run=_doctor)

    new = commands.add_parser(
        "gate", help="judge a cohort folder as a batch; exit 0 approved, 1 rejected, 2 undecided or error, 3 limited"
    )
    new.add_argument("--study", required=True)
    new.add_argument("--batch", type=Path, required=True, metavar="DIR", help="a cohort folder, ours or anybody's")
    new.add_argument("--intent", choices=("realistic", "training-only"), help="by default what its table states")
    new.add_argument("--out", type=Path, metavar="OUT", help="keep verdict.json and the reports in this new folder")
    new.add_argument("--json", action="store_true")
    new.set_defaults(run=_gate)

    new = commands.add_parser("summary", help="what was decided, and where to look")
    new.set_defaults(run=_summary)

    new = commands.add_parser("verdict", help="the gate's verdicts on the batches")
    form = new.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--markdown", action="store_true")
    form.add_argument("--schema", action="store_true", help="print the JSON schema of verdict.json")
    new.add_argument(
        "--check",
        action="store_true",
        help="exit 1 if a candidate uses a refused batch, 2 an undecided one",
    )
    new.set_defaults(run=_verdict)

    new = commands.add_parser("segment", help="segment one patient with the released model")
    new.add_argument("images", nargs="+", metavar="CHANNEL=FILE", help="one NIfTI per channel, e.g. flair=flair.nii.gz")
    new.add_argument("--out", type=Path, required=True, metavar="LABEL.nii.gz")
    new.add_argument("--release", type=Path, default=Path("releases/brain"))
    new.set_defaults(run=_segment)

    new = commands.add_parser("serve", help="serve the released model over REST")
    new.add_argument("--host", default="127.0.0.1")
    new.add_argument("--port", type=int, default=3000)
    new.add_argument("--release", type=Path, default=Path("releases/brain"))
    new.set_defaults(run=_serve)
    return top


def _phantom(arguments: argparse.Namespace) -> None:
    from synthgate.cohort.phantom import simulate

    simulate.write(arguments.out, arguments.study, arguments.patients, arguments.seed)
    print(f"{arguments.out}: {arguments.patients} simulated patients. {NOTICE}")


def _adopt(arguments: argparse.Namespace) -> int:
    from synthgate.cohort.adopt import adopt

    problems = adopt(arguments.source, arguments.layout, arguments.study, dry_run=arguments.dry_run)
    for problem in problems:
        print(problem)
    return 1 if any(problem.grade == "fault" for problem in problems) else 0


def _params(arguments: argparse.Namespace) -> None:
    import yaml

    from synthgate import params

    print(yaml.safe_dump(params.as_plain(params.load()), sort_keys=False), end="")


def _use(arguments: argparse.Namespace) -> None:
    from synthgate import presets

    presets.use(arguments.name)
    print(f"params.yaml now has the preset {arguments.name}; `dvc repro` runs what that changes")


def _doctor(arguments: argparse.Namespace) -> int:
    from synthgate import doctor

    return doctor.run(as_json=arguments.json)


def _gate(arguments: argparse.Namespace) -> int:
    from synthgate import params
    from synthgate.gate import run

    loaded = params.load()
    if arguments.study not in loaded.studies:
        raise ParamsError(f"--study: no row named {arguments.study}; the rows are {', '.join(loaded.studies)}")
    if arguments.out is not None and arguments.out.exists():
        raise ArtefactError(f"--out: {arguments.out} exists; name a new folder, or remove it")
    if arguments.out is not None and not next(p for p in arguments.out.absolute().parents if p.exists()).is_dir():
        raise ArtefactError(f"--out: {arguments.out} lies below a file; name a new folder")
    with tempfile.TemporaryDirectory() as beside:
        out = arguments.out or Path(beside) / "out"
        verdict = run.run(arguments.study, loaded.studies[arguments.study], arguments.batch, arguments.intent, out)
        if arguments.json:
            print((out / "verdict.json").read_text(encoding="utf-8"), end="")
        else:
            print(verdict.told())
            print(f"See {out}/verdict.json and {out}/report." if arguments.out else "Keep its reports by --out OUT.")
    return {"approved": 0, "rejected": 1, "undecided": 2, "limited": 3}[verdict.verdict]


def _summary(arguments: argparse.Namespace) -> None:
    from synthgate import params
    from synthgate.report import summary

    print(summary.summary(params.load()))


def _verdict(arguments: argparse.Namespace) -> int:
    from synthgate import params
    from synthgate.report import summary

    if arguments.schema:
        from synthgate.gate.verdict import schema

        print(json.dumps(schema(), indent=1, sort_keys=True))
        return 0
    loaded = params.load()
    if arguments.json:
        print(json.dumps(summary.verdicts(loaded), indent=1, sort_keys=True, ensure_ascii=False))
    elif arguments.markdown:
        print(summary.markdown(loaded))
    else:
        print(summary.batches(loaded))
    refused = summary.refused(loaded) if arguments.check else []
    for _, sentence in refused:
        print(sentence, file=sys.stderr)
    if any(verdict == "undecided" for verdict, _ in refused):
        return 2
    return 1 if refused else 0


def _segment(arguments: argparse.Namespace) -> None:
    from synthgate.files import replacing
    from synthgate.registry.bundle import Bundle
    from synthgate.serving.answers import Model, answer_files
    from synthgate.serving.form import most_bytes

    files = {}
    for image in arguments.images:
        channel, equals, path = image.partition("=")
        if not equals:
            raise IntakeError(f"{image}: expected CHANNEL=FILE, e.g. flair=flair.nii.gz")
        files[channel] = Path(path)
    done = answer_files(Model(Bundle.load(arguments.release)), files, most_bytes())
    with replacing(arguments.out) as beside:
        beside.write_bytes(done.nifti())
    print(json.dumps(done.json(), indent=1, ensure_ascii=False))


def _serve(arguments: argparse.Namespace) -> None:
    from synthgate.serving.service import serve

    serve(arguments.host, arguments.port, arguments.release)


if __name__ == "__main__":
    sys.exit(main())
