"""The monitor's pages: parse the address, call one function, render."""
