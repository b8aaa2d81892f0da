"""Which of some values: results whose length is known once they are there."""
