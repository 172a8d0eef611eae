"""Train and compare: ``python run.py method=xbl dataset=cifar``, or with ``-m`` a whole comparison.

``python run.py --help`` lists the groups and choices. The installed command ``xfeedback`` is the same, from any folder;
see :mod:`xfeedback.command`, which also lists the exit codes.
"""

from xfeedback.command import main

if __name__ == "__main__":
    main()
