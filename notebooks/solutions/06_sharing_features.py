"""Solutions to the exercises of notebook 6, Sharing features between RPN and Fast R-CNN."""

# %%
from exercises import check

import tfrcnn

# %% 6a. The shared features are the features of step 2, and step 2 has half of the epochs. Steps 3 and 4 fix them.
check("6a", 18 // 2)

# %% 6b. The detector of 6.2, with its first stage frozen.
preset = tfrcnn.preset("tiny_fpn", (tfrcnn.Category(1, "digit"),))
config = preset.detector.replace(
    preset="custom",
    backbone=tfrcnn.BackboneConfig("tiny", taps=("stage2_out",)),
    fpn=None,
    anchors=tfrcnn.AnchorConfig(sizes=((16.0, 28.0, 48.0),)),
)
detector = tfrcnn.build_detector(config)
tfrcnn.freeze(detector, preset.training.replace(frozen_stages=1))
check("6b", sum(weight.numpy().size for weight in detector.backbone.trainable_weights))

# %% 6c. Step 3 starts the RPN's layers again, because the features of step 2 are not those that step 1 learned on.
check("6c", "A")
