"""The data sets ``imagenet256`` and ``imagenet512``. Their images do not ship with arbench.

Scores compare the images of a method with reference images. For these data sets, users give the path of the reference
images, or of their statistics, with the option ``--reference``.
"""

from harness.images.datasets import DataSet


def _imagenet(side: int, published: str) -> DataSet:
    return DataSet(
        name=f"imagenet{side}",
        shape=(3, side, side),
        extractor="inception",
        instead=f"--reference FILE gives their reference, guided-diffusion's {published} or one of 'arbench reference "
        "build'",
    )


IMAGENET256 = _imagenet(256, "VIRTUAL_imagenet256_labeled.npz")
IMAGENET512 = _imagenet(512, "VIRTUAL_imagenet512.npz")
