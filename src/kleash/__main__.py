"""`python -m kleash` is the `kleash` command; torchrun starts it so: `torchrun -m kleash run RECIPE`."""

from kleash.cli import main

if __name__ == "__main__":
    main()
