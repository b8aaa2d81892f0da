"""What a region of nodes computes, and what a shape consists of: rewrites recognise things by it."""
