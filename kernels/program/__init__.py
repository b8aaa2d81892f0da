"""Programs: steps that a plan of a whole model has prepared, called one after another without the interpreter."""
