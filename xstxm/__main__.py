"""The command `xstxm`, as ``python -m xstxm``."""

from xstxm.cli import main

if __name__ == "__main__":
    main()
