"""The segmenter: a U-Net with one output per region, and its whole-volume prediction."""

import math

import numpy as np
import torch
from monai.networks.nets import DynUNet
from torch import Tensor, nn

from synthgate.params import GROUPS, Segmenter

WINDOW_OVERLAP = 0.5
PRIOR = 0.05
"""Probability of a region that an untrained network gives."""


def build(params: Segmenter, channels: int, regions: int) -> nn.Module:
    """[sample, channel, *space] → [sample, region, *space] logits.

    A plain U-Net as nnU-Net's, with group norm, which is faster on CPUs than instance norm; in 2D channels lie last in
    memory, which is faster on one thread, as workers have.
    """
    levels = len(params.features)
    network = DynUNet(
        spatial_dims=params.spatial_dims,
        in_channels=channels,
        out_channels=regions,
        kernel_size=[3] * levels,
        strides=[1] + [2] * (levels - 1),
        upsample_kernel_size=[2] * (levels - 1),
        filters=params.features,
        norm_name=("group", {"num_groups": GROUPS}),
    )
    # a lesion is rare: begun at one half, hundreds of steps go into learning just that (Lin et al. 2017, §3.3)
    nn.init.constant_(network.output_block.conv.conv.bias, math.log(PRIOR / (1 - PRIOR)))
    if params.spatial_dims == 2:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


@torch.inference_mode()
def predict(network: nn.Module, image: np.ndarray, params: Segmenter) -> np.ndarray:
    """[channel, x, y, z] float32 → [region, x, y, z] float32 probabilities of the whole volume.

    Averaged with the left-right mirrored volume. In 2D all slices are seen whole; in 3D by a sliding window.
    """
    network.eval()
    volume = torch.from_numpy(np.ascontiguousarray(image))
    mirrored = _whole(network, volume.flip(1), params).flip(1)
    return ((_whole(network, volume, params) + mirrored) / 2).numpy()


def _whole(network: nn.Module, volume: Tensor, params: Segmenter) -> Tensor:
    if params.spatial_dims == 3:
        from monai.inferers import sliding_window_inference  # takes a second

        out = sliding_window_inference(volume[None], params.patch, 1, network, overlap=WINDOW_OVERLAP, mode="gaussian")
        return torch.sigmoid(torch.as_tensor(out)[0])
    planes = volume.permute(3, 0, 1, 2).split(params.batch)
    return torch.sigmoid(torch.cat([network(some) for some in planes])).permute(1, 2, 3, 0)
