"""Pre-train the embedded model from nothing: `python pretrain.py --work WORK --out FOLDER`.

Fetches the drawings by package name, rasterises them once, trains, and writes a folder that
open_clip loads by `local-dir:`. Run again after a stop, it goes on from the last checkpoint.
"""

import argparse
import math
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import artists
import torch
import torch.nn.functional as F
from artists import UNSEEN_ARTIST
from captions import Captions
from concepts import Concept, read_emoji, training_concepts
from curve import write_curve
from drawings import Drawings, gather
from model import MAX_LOGIT_SCALE, build, contrastive_loss, encode_text, export
from muon import Muon, note_groups
from pictures import augment
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

CHECKPOINT_EVERY = 100
MAX_STRENGTH = 0.55  # of augmentation


@dataclass(frozen=True)
class Options:
    """How one training runs; the same options and seed give the same weights."""

    seed: int = 0
    steps: int = 4000
    batch_size: int = 256
    learning_rate: float = 3e-3
    matrix_learning_rate: float = 1e-2
    weight_decay: float = 0.1
    warmup_steps: int = 20
    threads: int = 2
    compile: bool = False
    bf16: bool = False
    group_share: float = 0.25
    left_out: tuple[str, ...] = ()


def batch_rows(
    concepts: Sequence[Concept],
    drawable: Sequence[int],
    group_share: float,
    random_: random.Random,
    *,
    batch_size: int = 256,
) -> list[int]:
    """Return distinct concepts for one step; with this chance, half of them of one group."""
    size = min(batch_size, len(drawable))
    if random_.random() >= group_share:
        return random_.sample(drawable, size)
    group = random_.choice((0, 1, 3, 4, 5, 6, 7, 8))
    near = [row for row in drawable if concepts[row].group == group]
    near = random_.sample(near, min(len(near), size // 2))
    others = set(drawable) - set(near)
    return near + random_.sample(sorted(others), size - len(near))


def with_pets(rows: list[int], pets: Sequence[int]) -> list[int]:
    """Return the batch with every cat and dog in it, in place of the last rows."""
    missing = [row for row in pets if row not in rows]
    kept = [row for row in rows if row not in pets]
    return [row for row in rows if row in pets] + kept[: len(kept) - len(missing)] + missing


def rate_at(step: int, options: Options) -> float:
    """Return the share of the learning rate: warm-up, then half a cosine down to zero."""
    if step < options.warmup_steps:
        return (step + 1) / options.warmup_steps
    done = (step - options.warmup_steps) / max(1, options.steps - options.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


def strength_at(done: float) -> float:
    """Return the strength of augmentation: none at first, the strongest from half-way on."""
    return min(MAX_STRENGTH, 2 * MAX_STRENGTH * done)


def plain_share_at(done: float) -> float:
    """Return the share of captions that are the plain name: most at first, a quarter in the end."""
    return max(0.25, 0.9 * (1 - done / 0.4))


def make_optimizers(model: torch.nn.Module, options: Options) -> list[torch.optim.Optimizer]:
    """Return Muon for weights of layers, AdamW for embeddings, and AdamW without decay for others.

    Norms, biases and the temperature are not decayed.
    """
    layers, embeddings, others = [], [], []
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            others.append(parameter)
        else:
            (embeddings if "embedding" in name else layers).append(parameter)
    groups = [
        {"params": embeddings, "weight_decay": options.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [
        Muon(
            layers,
            lr=options.matrix_learning_rate,
            weight_decay=options.weight_decay,
            bf16=options.bf16,
        ),
        torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.98), eps=1e-6),
    ]


class Trainer:
    """One training: model, optimizer, drawings and captions, one step at a time."""

    def __init__(self, concepts: Sequence[Concept], drawings: Drawings, options: Options) -> None:
        torch.manual_seed(options.seed)
        self.options, self.concepts, self.drawings = options, concepts, drawings
        self.captions = Captions(concepts)
        self.model = build(len(self.captions.kept)).to(memory_format=torch.channels_last)
        self.visual = torch.compile(self.model.visual) if options.compile else self.model.visual
        note_groups(self.model)
        self.optimizers = make_optimizers(self.model, options)
        self.rates = [[group["lr"] for group in o.param_groups] for o in self.optimizers]
        self.keeps_colour = torch.tensor([concept.colour_matters for concept in concepts])
        self.keeps_side = torch.tensor([concept.group == 8 for concept in concepts])
        self.drawable = [row for row, choices in enumerate(drawings.by_concept) if choices]
        self.pets = [row for row in self.drawable if concepts[row].is_pet]
        self.step, self.losses = 0, []

    def train_step(self) -> float:
        """Make one step and return its loss; all chance hangs on (seed, step), so it resumes."""
        options = self.options
        random_ = random.Random(f"{options.seed} {self.step}")
        torch.manual_seed(random_.getrandbits(62))
        done = self.step / options.steps
        group_share = min(options.group_share, 0.5 * done)
        rows = batch_rows(
            self.concepts, self.drawable, group_share, random_, batch_size=options.batch_size
        )
        if done >= 0.5:
            rows = with_pets(rows, self.pets)
        numbers = torch.tensor([self.drawings.draw(row, random_, done=done) for row in rows])
        plain_share = plain_share_at(done)
        tokens, also_true = self.captions.draw(rows, random_, plain_share=plain_share)
        pictures = augment(
            self.drawings.pictures[numbers],
            strength=strength_at(done),
            keeps_colour=self.keeps_colour[rows],
            keeps_side=self.keeps_side[rows],
            is_mono=self.drawings.is_mono[numbers],
        )
        loss = self.loss(pictures, tokens, also_true)
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * rate_at(self.step, options)
            optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(MAX_LOGIT_SCALE))
        self.step += 1
        self.losses.append(loss.item())
        return self.losses[-1]

    def loss(
        self, pictures: torch.Tensor, tokens: torch.Tensor, also_true: torch.Tensor
    ) -> torch.Tensor:
        """Return the contrastive loss of one batch; only the image tower may run in bf16."""
        self.model.train()
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.options.bf16):
            image_features = self.visual(pictures)
        image_features = F.normalize(image_features.float(), dim=-1)
        text_features = F.normalize(encode_text(self.model, tokens), dim=-1)
        scale = self.model.logit_scale.exp()
        return contrastive_loss(image_features, text_features, scale, also_true)

    def save(self, path: Path) -> None:
        """Write all that going on needs."""
        state = {
            "step": self.step,
            "losses": self.losses,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        torch.save(state, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.step, self.losses = state["step"], state["losses"]
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    def export(self, folder: Path) -> None:
        """Write the model's folder with the full vocabulary."""
        table = self.captions.expand(self.model.token_embedding.weight.detach())
        export(self.model.eval(), table, folder)


def run(trainer: Trainer, *, checkpoint: Path, out: Path) -> None:
    """Train to the end with a progress bar, checkpoints and a loss curve."""
    if checkpoint.exists():
        trainer.load(checkpoint)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        total = trainer.options.steps
        task = progress.add_task("training", total=total, completed=trainer.step)
        while trainer.step < total:
            loss = trainer.train_step()
            scale = trainer.model.logit_scale.exp().item()
            progress.update(task, advance=1, description=f"loss {loss:.3f} scale {scale:.1f}")
            if trainer.step % CHECKPOINT_EVERY == 0 or trainer.step == total:
                trainer.save(checkpoint)
    trainer.export(out)
    write_curve(trainer.losses, out / "loss.svg")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for downloads, checkpoints"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished model")
    parser.add_argument("--seed", type=int, default=Options.seed)
    parser.add_argument("--steps", type=int, default=Options.steps)
    parser.add_argument("--threads", type=int, default=Options.threads)
    parser.add_argument("--compile", action="store_true", help="a quarter faster; needs g++")
    parser.add_argument("--bf16", action="store_true", help="faster where the processor has it")
    parser.add_argument(
        "--group-share",
        type=float,
        default=Options.group_share,
        help="share of steps whose batch is half of one group",
    )
    parser.add_argument(
        "--leave-out",
        action="append",
        default=[],
        metavar="ARTIST",
        help="train without this artist, to choose by their drawings",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Fetch, rasterise, train, export."""
    arguments = parse_arguments(argv)
    options = Options(
        seed=arguments.seed,
        steps=arguments.steps,
        threads=arguments.threads,
        compile=arguments.compile,
        bf16=arguments.bf16,
        group_share=arguments.group_share,
        left_out=tuple(arguments.leave_out),
    )
    torch.set_num_threads(options.threads)
    names = artists.fetch_names(arguments.work)
    concepts = training_concepts(names)
    left_out = {UNSEEN_ARTIST, *options.left_out}
    chosen = [artist for name, artist in artists.read_artists().items() if name not in left_out]
    for artist in chosen:
        artists.rasterise(artist, arguments.work, read_emoji(names))
    sets = artists.load([artist.name for artist in chosen], arguments.work)
    trainer = Trainer(concepts, gather(sets, concepts), options)
    started = time.monotonic()
    tag = "-".join(["seed", str(options.seed), *options.left_out])
    run(trainer, checkpoint=arguments.work / f"{tag}.pt", out=arguments.out)
    print(
        f"{arguments.out}: {len(trainer.drawings.pictures)} drawings, {options.steps} steps, "
        f"{(time.monotonic() - started) / 60:.0f} minutes"
    )


if __name__ == "__main__":
    main()
