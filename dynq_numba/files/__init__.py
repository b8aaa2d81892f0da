"""Files: the safetensors container, what saved forms of packed weights share, and how any file is written."""
