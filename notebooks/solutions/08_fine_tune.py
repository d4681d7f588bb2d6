"""Solutions to the exercises of notebook 8, Fine-tune on your own boxes."""

# %%
from exercises import check

# %% 8a. "seven" and "nine" are known. "cat" is new.
check("8a", 2)


# %% 8b. COCO has x before y, and sides instead of a second corner.
def to_corners(bbox):
    """Return y1, x1, y2, x2 of a COCO box."""
    x, y, width, height = bbox
    return [y, x, y + height, x + width]


check("8b", to_corners)

# %% 8c. "The run's folder gets the best detector by the validation set": not the last one.
check("8c", "B")
