"""Solutions to the exercises of notebook 4, The RPN as a fully convolutional network."""

# %%
import numpy as np
from exercises import check

import tfrcnn

# %% 4a. A convolution of 3 x 3, and two of 1 x 1 for 9 logits and 36 deltas. Each output channel has a bias.
check("4a", (3 * 3 * 256 * 256 + 256) + (256 * 9 + 9) + (256 * 36 + 36))


# %% 4b. Non-maximum suppression.
def nms(boxes, scores, threshold):
    """Return the positions of the kept boxes, the best one first."""
    kept = []
    rest = np.argsort(-scores)
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        overlap = tfrcnn.boxes.iou(boxes[best : best + 1], boxes[rest]).numpy()[0]
        rest = rest[overlap <= threshold]
    return np.array(kept)


check("4b", nms)

# %% 4c. If (A) or (B) were the cause, 100 proposals would do better than 10. The head moves the boxes: notebook 7.
check("4c", "C")
