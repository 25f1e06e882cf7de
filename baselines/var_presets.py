"""The presets of VAR, which its sparse versions share."""

from baselines.tokenizers.published import VAR_SCALES, VAR_SCALES_512
from harness.method import Preset
from harness.sampling import Sampling
from harness.setup import SMALL_IMAGES_COMPUTE_BATCH, Setup


def imagenet_preset(depth: int) -> Preset:
    """The preset of the published VAR of this depth. Depth 36 makes images of 512x512, the others of 256x256.

    What the authors call "cfg 1.5" is ``cfg=2.5`` here (``harness.sampling``). As in the authors' code, a value x in
    [0, 1] becomes a byte by truncating 255 x. The authors sample 50 images for each class.
    """
    pixels, tokenizer, scales = (
        (512, "vae_ch160v4096z32-512", VAR_SCALES_512) if depth == 36 else (256, "vae_ch160v4096z32", VAR_SCALES)
    )
    return Preset(
        name=f"imagenet{pixels}-d{depth}",
        data=f"imagenet{pixels}",
        tokenizer=tokenizer,
        network={
            "vocabulary": 4096,
            "channels": 32,
            "scales": scales,
            "classes": 1000,
            "dim": 64 * depth,
            "layers": depth,
            "heads": depth,
            "shared": depth == 36,
        },
        sampling=Sampling(cfg=2.5, cfg_schedule="ramp", top_k=900, top_p=0.96),
        classes=1000,
        image=(3, pixels, pixels),
        weights=f"var_d{depth}.pth",
        setup=Setup(uint8="truncate", compute_batch=64),
    )


VAR_PRESETS = {
    "fmnist": Preset(
        name="fmnist",
        data="fmnist",
        tokenizer="msvq-fmnist",
        network={
            "vocabulary": 512,
            "channels": 16,
            "scales": (1, 2, 3, 4, 5, 7),
            "classes": 10,
            "dim": 96,
            "layers": 4,
            "heads": 4,
        },
        sampling=Sampling(cfg=1.5, cfg_schedule="ramp"),
        classes=10,
        image=(1, 28, 28),
        setup=Setup(compute_batch=SMALL_IMAGES_COMPUTE_BATCH),
    ),
    **{preset.name: preset for preset in (imagenet_preset(depth) for depth in (16, 20, 24, 30, 36))},
}
