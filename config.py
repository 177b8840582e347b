"""Every setting of the repository: plain data, no functions, no imports of ours."""

PARAMS = {
    "n_epochs": 10,
    "batch_size": 1,
    "learning_rate": 1e-5,
    "device": "gpu",
    "seed": 42,
}

# Network input (height, width) per dataset, each divisible by 8 because the encoder divides by 8.
DIMS = {
    "image_size_salicon": (240, 320),
    "image_size_mit1003": (360, 360),
    "image_size_cat2000": (216, 384),
    "image_size_dutomron": (360, 360),
    "image_size_pascals": (360, 360),
    "image_size_osie": (240, 320),
    "image_size_fiwi": (216, 384),
    "image_size_fixationadd1000": (360, 360),
}

# Standard deviation, in stimulus pixels, of the Gaussian that turns fixations into a saliency map.
SIGMA = {
    "dutomron": 16.0,
    "osie": 16.0,
    "fiwi": 30.0,
    "fixationadd1000": 16.0,
}

# Names under which a set's archive is looked for, in this order.
ARCHIVES = {
    "fixationadd1000": ("fixation_add1000.tar.gz", "add1000.tar.gz"),
}

# The values that fill what an image's shape leaves of the network's input.
PADDING = {"stimulus": 126, "saliency": 0}

# Beyond these an input is refused before it can fill memory or disk.
LIMITS = {
    "image_pixels": 100_000_000,
    "member_bytes": 500_000_000,
    "archive_bytes": 50_000_000_000,
}

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")

VGG16_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
VGG16_MD5 = "6d6bbae143d832006294945121d1f1fc"
VGG16_URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/" + VGG16_FILE

# Small archives that ship with the repository, in samples/.
SAMPLES = {"fixationadd1000": "fixation_add1000.tar.gz"}
