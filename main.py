"""The command line: prepare data, train MSI-Net, predict saliency maps."""

import argparse
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import config
import data
import prepare
from utils import UserError, say

datasets_list = list(data.dataset_classes())

ROOT = Path(__file__).resolve().parent


def define_paths(current_path: Path | str, args: argparse.Namespace) -> dict[str, Path]:
    """Return the folders that a command reads and writes.

    Args:
        current_path: The repository's folder.
        args: The parsed command line. With `sample`, data and results have folders of their own,
            so that trying the sample never touches a real run.

    Returns:
        "data", "samples", "weights", "results", "latest", "best", "history" and "images".
    """
    current_path = Path(current_path)
    part = "sample" if args.sample else ""
    results = current_path / "results" / part
    return {
        "data": Path(args.data_path or current_path / "data") / part,
        "samples": current_path / "samples",
        "weights": current_path / "weights",
        "results": results,
        "latest": results / "ckpts" / "latest",
        "best": results / "ckpts" / "best",
        "history": results / "history",
        "images": results / "images" / args.data,
    }


def _open_dataset(args: argparse.Namespace, paths: Mapping[str, Path]) -> data.Dataset:
    archives, partial = tuple(args.archive), args.allow_partial
    if args.sample:
        if args.data not in config.SAMPLES:
            raise UserError(
                f"There is a sample of {', '.join(config.SAMPLES)}, not of {args.data}."
            )
        archives, partial = (paths["samples"] / config.SAMPLES[args.data],), True
    options = prepare.Options(
        archives, args.sigma, args.skip_bad, partial, verify=not args.no_verify
    )
    return data.open_dataset(args.data, paths["data"], options)


def prepare_data(args: argparse.Namespace, paths: Mapping[str, Path]) -> int:
    """Prepare a dataset and say what was found; return the exit status."""
    dataset = _open_dataset(args, paths)
    say(f"{dataset.path} is ready.")
    train_set, valid_set = dataset.load_data()
    say(prepare.describe(dataset.record, args.size or data.image_size(args.data)))
    counts = len(train_set.stimuli), len(valid_set.stimuli)
    say(f"split      {counts[0]:,} for training, {counts[1]:,} held out")
    return 0


def train_model(args: argparse.Namespace, paths: Mapping[str, Path]) -> int:
    """Prepare a dataset if need be and train on it; return the exit status."""
    dataset = _open_dataset(args, paths)

    import report
    import trainer

    say(trainer.choose_device(args.device))
    request = trainer.Request(
        init=args.init,
        device=args.device,
        image_size=args.size or data.image_size(args.data),
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
        fresh=args.fresh,
    )
    curve = paths["history"] / f"curve_{args.data}_{args.device}.png"
    trainer.train(dataset, paths, request, lambda history: report.draw_history(history, curve))
    return 0


def test_model(args: argparse.Namespace, paths: Mapping[str, Path]) -> int:
    """Predict saliency maps of images, or of a dataset's held-out part; return the exit status."""
    # What does not need the network is checked before seconds go into loading it.
    if args.path is None:
        dataset = _open_dataset(args, paths)
    else:
        data.find_images(args.path)

    import predictor
    import trainer

    say(trainer.choose_device(args.device))
    network = predictor.load(args.weights, args.data, args.device, paths, args.size)
    if args.path is None:
        job = predictor.held_out_job(dataset, network)
    else:
        job = predictor.images_job(data.TEST(args.data, args.path, network.image_size))
    return predictor.run(job, network, paths["images"], args.overlay)


def list_weights(args: argparse.Namespace, paths: Mapping[str, Path]) -> int:
    """Say which weights are here and which can be fetched; return the exit status."""
    import weights

    say(weights.listing(paths))
    return 0


def demo(args: argparse.Namespace, paths: Mapping[str, Path]) -> int:
    """Do the main job on the bundled sample: prepare, train, predict the held-out images."""
    return train_model(args, paths) or test_model(args, paths)


def _positive(convert: Callable[[str], float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = convert(text)
        except ValueError:
            value = 0
        if not 0 < value < float("inf"):
            kind = "a whole number" if convert is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} has to be {kind} above 0")
        return value

    return parse


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} has to be a whole number from 0 to 2**32 - 1")
    return int(text)


def _dataset_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a dataset; letters, digits, _ and - may stand in one"
        )
    return text.lower() if text.lower() in datasets_list else text


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)[xX](\d+)", text)
    size = tuple(map(int, match.groups())) if match else (0, 0)
    if min(size) < 8 or any(edge % 8 for edge in size):
        raise argparse.ArgumentTypeError(
            f"{text!r} has to be HEIGHTxWIDTH, both divisible by 8, as in 240x320"
        )
    return size


class _Parser(argparse.ArgumentParser):
    """Ends with one sentence instead of a usage listing."""

    def error(self, message: str) -> None:
        raise UserError(f"{message[:1].upper()}{message[1:]}. See: {self.prog} --help")


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument(
        "--archive",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="an archive got by hand; several where a dataset has several",
    )
    group.add_argument(
        "--sigma",
        type=_positive(float),
        help="blur fixations with this standard deviation in pixels (default: config.SIGMA)",
    )
    group.add_argument(
        "--skip-bad", action="store_true", help="go on without pairs that cannot be used"
    )
    group.add_argument(
        "--no-verify",
        action="store_true",
        help="use fetched files even if they have changed since they were published",
    )
    group.add_argument(
        "--allow-partial",
        action="store_true",
        help="accept another number of pairs than the dataset's, split 80/20",
    )


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument(
        "--init",
        metavar="WEIGHTS",
        default="auto",
        help="auto, salicon, pretrained, imagenet, random or a .weights.h5 file (default: auto, "
        "that is: continue, else start from the SALICON checkpoint)",
    )
    group.add_argument(
        "--epochs",
        type=_positive(int),
        default=config.PARAMS["n_epochs"],
        help="total number of epochs, finished ones included (default: %(default)s)",
    )
    group.add_argument(
        "--batch-size",
        type=_positive(int),
        default=config.PARAMS["batch_size"],
        help="images a step (default: %(default)s)",
    )
    group.add_argument(
        "--learning-rate",
        type=_positive(float),
        default=config.PARAMS["learning_rate"],
        help="Adam's learning rate (default: %(default)s)",
    )
    group.add_argument(
        "--seed",
        type=_seed,
        default=config.PARAMS["seed"],
        help="of random weights and of the order of images (default: %(default)s)",
    )
    group.add_argument(
        "--fresh",
        action="store_true",
        help="start over; the old checkpoints and history are kept aside",
    )


def _add_prediction_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("prediction")
    group.add_argument(
        "--overlay", action="store_true", help="also write the heat map laid over each image"
    )
    group.add_argument(
        "--weights",
        metavar="FILE",
        type=Path,
        help="weights to use (default: the best checkpoint, else weights/)",
    )


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-d",
        "--data",
        type=_dataset_name,
        default="fixationadd1000",
        metavar="NAME",
        help=f"{', '.join(datasets_list)}, or a set of your own (default: %(default)s)",
    )
    parser.add_argument(
        "--device",
        choices=("gpu", "cpu", "tpu", "metal"),
        default=config.PARAMS["device"],
        help="where to compute, and the suffix of checkpoint files (default: %(default)s)",
    )
    parser.add_argument(
        "--size",
        metavar="HxW",
        type=_size,
        help="network input in pixels, height and width divisible by 8 (default: config.DIMS; "
        "in testing that of the weights)",
    )
    parser.add_argument(
        "--sample",
        action="store_true",
        help="use the bundled sample of 20 pairs; data and results go to sample/ folders",
    )
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback when something fails"
    )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Parser(prog="main.py", description=__doc__)
    commands = parser.add_subparsers(dest="phase", metavar="COMMAND", required=True)

    def add(name: str, run: Callable, summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(run=run, data_path=None)
        _add_common_options(command)
        return command

    def add_data_path(command: argparse.ArgumentParser, *names: str) -> None:
        command.add_argument(
            *names,
            dest="data_path",
            metavar="DIR",
            type=Path,
            help="the folder of all datasets (default: data/)",
        )

    command = add("train", train_model, "Prepare a dataset if need be and train on it.")
    add_data_path(command, "-p", "--path", "--data-path")
    _add_data_options(command)
    _add_training_options(command)

    command = add("test", test_model, "Predict saliency maps.")
    command.add_argument(
        "-p",
        "--path",
        metavar="IMAGES",
        help="an image, a folder or a quoted glob (default: the held-out images of the dataset)",
    )
    add_data_path(command, "--data-path")
    _add_data_options(command)
    _add_prediction_options(command)

    command = add("prepare", prepare_data, "Prepare a dataset and say what was found.")
    add_data_path(command, "-p", "--path", "--data-path")
    _add_data_options(command)

    add("weights", list_weights, "List the weights that are here and those that can be fetched.")

    command = add("demo", demo, "Train on the bundled sample and predict its held-out images.")
    _add_data_options(command)
    _add_training_options(command)
    _add_prediction_options(command)
    command.set_defaults(
        sample=True,
        path=None,
        # The sample's images are not larger, and three minutes is all a first look may take.
        size=(240, 320),
        overlay=True,
        init="random",
        epochs=3,
        learning_rate=1e-4,
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0, 1 (some images failed), 2 or 130."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments
    try:
        args = build_parser().parse_args(arguments)
        return args.run(args, define_paths(ROOT, args))
    except UserError as error:
        if debug:
            traceback.print_exc()
        message = str(error)
    except OSError as error:
        if debug:
            traceback.print_exc()
        place = f"{error.filename}: " if error.filename else ""
        message = f"{place}{error.strerror or error}."
    except KeyboardInterrupt:
        say(
            "\nInterrupted. What was finished is kept: run the same command again, and a training "
            "continues after its last finished epoch."
        )
        return 130
    except Exception as error:
        message = (
            f"Something unexpected went wrong ({type(error).__name__}: {error}). "
            "Run the same command with --debug for the traceback, and report it."
        )
        if debug:
            raise
    print(f"Error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
