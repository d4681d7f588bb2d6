"""Solutions to the exercises of notebook 9, Export and deploy."""

# %%
from exercises import check

# %% 9a. The height decides: 128 / 192. The width is rounded down.
check("9a", int(160 * 128 / 192))


# %% 9b. A file of the library returns y1, x1, y2, x2 as fractions of the picture.
def to_pixels(boxes, height, width):
    """Return the boxes in pixels of a picture."""
    return boxes * [height, width, height, width]


check("9b", to_pixels)

# %% 9c. Addition of rounded numbers depends on the order.
print((0.1 + 0.2) + 0.3, 0.1 + (0.2 + 0.3))
check("9c", "B")
