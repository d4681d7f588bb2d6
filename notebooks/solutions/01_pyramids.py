"""Solutions to the exercises of notebook 1, Pyramids."""

# %%
from exercises import check

import tfrcnn

config = tfrcnn.preset("zf").detector

# %% 1a. The cost of a convolution grows with the area of its map, so the images cost 1, 1/2 and 1/4.
cost = 1 + 1 / 2 + 1 / 4
check("1a", cost)

# %% 1b. The sizes are one tuple per feature map. `zf` has one map.
anchors = config.anchors.replace(sizes=((64.0, 128.0, 256.0, 512.0),))
check("1b", anchors)

# %% 1c. A window of s pixels has (s / 16)^2 cells, and each cell has its own weights.
cells = {size: (size // 16) ** 2 for size in (128, 256, 512)}
print(f"share of the windows of 512 pixels: {cells[512] / sum(cells.values()):.2f}")
check("1c", "C")
