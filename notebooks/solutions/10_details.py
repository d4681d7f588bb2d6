"""Solutions to the exercises of notebook 10, Implementation details."""

# %%
import numpy as np
from exercises import check

# %% 10a. The speed is the sum of a geometric series: 1 + 0.9 + 0.81 + ... = 1 / (1 - 0.9).
check("10a", 1 / (1 - 0.9))


# %% 10b. 60k mini-batches at 0.001, then 20k at 0.0001.
def rates(steps):
    """Return the learning rate of each step."""
    return np.where(steps < 60_000, 0.001, 0.0001)


check("10b", rates)

# %% 10c. With few proposals, variety counts. With many, the best of several boxes of an object counts.
check("10c", "C")
