"""What the commands of `xstxm.cli` share."""
