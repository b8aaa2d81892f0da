"""The safetensors container, and what the saved forms of packed weights share."""
