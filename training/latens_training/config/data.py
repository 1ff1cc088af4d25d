"""Where the images of a run come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from latens_training.config.section import Name, Options, Section, split_list

Fit = Literal["pad", "crop", "resize"]
Side = Annotated[int, Field(ge=1, le=8192)]


def _height_and_width(value: Any) -> Any:
    """`64` or `48x64`, as on the command line, as height and width."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, str):
        parts = value.lower().split("x")
        return parts * 2 if len(parts) == 1 else parts
    return value


class DataFields(Section):
    """Where the images come from."""

    dataset: Annotated[
        str,
        Field(
            min_length=1,
            description="mnist (comes with the package), fashion-mnist, kmnist, emnist, sprites, "
            "another name that the docs list, the path of a folder of pictures, of WebDataset tar "
            "or Parquet files, of an .npz or IDX file, or module:function of your own",
        ),
    ] = "mnist"
    image_size: Annotated[
        tuple[Side, Side] | None,
        NoDecode,
        BeforeValidator(_height_and_width),
        Field(
            description="fit each picture of a folder to this size, as 64 or HEIGHTxWIDTH; "
            "default: all pictures must be of one size"
        ),
    ] = None
    fit: Annotated[
        Fit,
        Field(
            description="with --image-size: pad to the aspect, crop to it, or resize without "
            "keeping it"
        ),
    ] = "pad"
    data_dir: Annotated[
        Path | None,
        Field(description="folder with the files of the named data set, or to download them to"),
    ] = None
    binarize: Annotated[
        Literal["none", "static", "dynamic"],
        Field(
            description="replace pixels by Bernoulli draws of their grey value: once (static) or "
            "each time an image is used (dynamic)"
        ),
    ] = "none"
    stream: Annotated[
        bool,
        Field(
            description="leave the pictures of a folder on disk and read them as they are needed, "
            "as those of WebDataset tar and Parquet files always are"
        ),
    ] = False
    workers: Annotated[
        int, Field(ge=0, le=1024, description="threads that read such pictures; 0: one per core")
    ] = 0
    augment: Annotated[
        tuple[Name, ...],
        NoDecode,
        BeforeValidator(split_list),
        Field(
            description="random changes of the training images: flip, shift, rotate, crop, colour, "
            "or module:function of your own, as flip,shift"
        ),
    ] = ()
    validation: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="share of the training images to hold out; the weights of the epoch that "
            "is best on them are the result",
        ),
    ] = 0.0


class DataConfig(DataFields):
    """Where the images come from, and the options of the data set."""

    dataset_options: Options = Field(default_factory=dict)
