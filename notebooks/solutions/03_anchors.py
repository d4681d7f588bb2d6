"""Solutions to the exercises of notebook 3, Anchors."""

# %%
import numpy as np
from exercises import check

# %% 3a. The stride is 16 pixels: 50 x 50 cells of nine anchors.
check("3a", (800 // 16) * (800 // 16) * 9)


# %% 3b. Equation (2), with x before y and w before h.
def encode(box, anchor):
    """Return t_x, t_y, t_w, t_h."""
    (y, x), (y_a, x_a) = (box[:2] + box[2:]) / 2, (anchor[:2] + anchor[2:]) / 2
    (h, w), (h_a, w_a) = box[2:] - box[:2], anchor[2:] - anchor[:2]
    return np.array([(x - x_a) / w_a, (y - y_a) / h_a, np.log(w / w_a), np.log(h / h_a)])


check("3b", encode)

# %% 3c. A grid shifted by its stride is the same grid. The k-means anchors shifted by 4 pixels are other anchors.
check("3c", "A")
