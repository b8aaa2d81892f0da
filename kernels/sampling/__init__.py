"""Values of images at places that are computed."""
