"""S²CNet: content-aware cropping by a graph of a crop candidate and the objects of the image.

Shapes: B images, K candidates, N objects, boxes xyxy in pixels of the network's input, images RGB.
"""
