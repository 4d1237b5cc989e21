"""Experiments on the sandbox: whole families of runs whose outcome is known beforehand, checked against the literature.

overoptimisation.py  one command: every arm over every seed, the criteria, the page
arms.py              what is varied: labels, reward models, arms        laboratory.py  makes one seed's artifacts
measuring.py         points of a curve: KL, proxy and gold of kept answers             curves.py      the record of them
criteria.py          what the curves must show (C1 to C9), pure         jobs.py        a table of jobs on several cores

Gold is read here through `evaluation.gold` only, after training, from the answers each run kept.
"""
