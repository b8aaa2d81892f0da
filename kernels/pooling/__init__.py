"""Pooling of images in float32."""
