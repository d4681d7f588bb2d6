"""Solutions to the exercises of notebook 0, What is improved."""

# %%
from exercises import check

# %% 0a. The cost of a convolution grows with the number of its positions, so pixels are a good measure.
check("0a", 2000 * 224 * 224 / (600 * 1000))

# %% 0b. fc6, fc7, and the scores and boxes of 21 classes, for 300 regions instead of 2000.
per_region = 7 * 7 * 512 * 4096 + 4096 * 4096 + 4096 * 5 * 21
check("0b", 300 * per_region / 1e9)

# %% 0c. Selective Search takes 1.5 s of 1.8 s (table 5). It cannot use the features that the network computes.
check("0c", "A")
