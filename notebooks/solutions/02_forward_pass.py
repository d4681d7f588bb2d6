"""Solutions to the exercises of notebook 2, One image through the network."""

# %%
from exercises import check

import tfrcnn

# %% 2a. k = min(600 / 300, 1000 / 900). The second quotient is smaller: the longer side decides.
k = min(600 / 300, 1000 / 900)
check("2a", (int(k * 300), round(k * 900)))

# %% 2b. VGG-16 has 512 channels in its last shared map, and pools to 7 x 7 bins.
config = tfrcnn.preset("vgg16").detector
proposals, bins = config.test_proposals.post_nms_top_n, config.head.pool_size
check("2b", (1, proposals, bins, bins, 512))

# %% 2c. The digits are at most about 40 pixels high. An anchor of 64 pixels overlaps none of them by 0.7.
check("2c", "B")
