"""The commands that use a trained run: `sbo-predict` and `sbo-evaluate`."""
