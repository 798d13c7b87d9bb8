"""S²CNet: content-aware cropping by a graph of a crop candidate and the objects of the image.

Shapes: B images, K candidates, N objects, boxes xyxy in pixels of the network's input, images RGB.
"""

from models.s2cnet.network import S2CNet, S2CNetConfig, build_s2cnet, from_release

__all__ = ["S2CNet", "S2CNetConfig", "build_s2cnet", "from_release"]
