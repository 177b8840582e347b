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

# That of a set of the user's own, unless --size says otherwise.
OWN_SET_SIZE = (360, 360)

# Standard deviation, in stimulus pixels, of the Gaussian that turns fixations into a saliency map.
# Sets that are not named come with maps of their own; DEFAULT_SIGMA is for the user's own sets.
SIGMA = {
    "dutomron": 16.0,
    "osie": 16.0,
    "fiwi": 30.0,
    "fixationadd1000": 16.0,
}
DEFAULT_SIGMA = 16.0

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

# Small archives that ship with the repository, in samples/.
SAMPLES = {"fixationadd1000": "fixation_add1000.tar.gz"}

# How files are fetched. Times are in seconds. Tries count in a row: bytes that arrive start the
# count anew.
FETCH = {
    "tries": 6,
    "first_pause": 1.0,
    "longest_pause": 60.0,
    "longest_retry_after": 300.0,
    "connect_timeout": 15.0,
    "read_timeout": 60.0,
    "redirects": 10,
    "chunk_bytes": 1 << 16,
}

# The files of each published set. `urls` are mirrors, tried in order; "gdrive:ID" is a file on
# Google Drive. The environment variable SALIENCY_MIRROR replaces every host (see fetch.py).
SOURCES = {
    "salicon": [
        {
            "file": "salicon_images.zip",
            "urls": ("gdrive:1g8j-hTT-51IG1UFwP0xTGhLdgIUCW5e5",),
            "md5": "eb2a1bb706633d1b31fc2e01422c5757",
        },
        {
            "file": "salicon_fixations.zip",
            "urls": ("gdrive:1P-jeZXCsjoKO79OhFUgnj6FGcyvmLDPj",),
            "md5": "462b70f4f9e8ea446ac628e46cea8d3d",
        },
        {
            "file": "salicon_maps.zip",
            "urls": ("gdrive:1PnO7szbdub1559LfjYHMy65EDC4VhJC8",),
        },
    ],
    "mit1003": [
        {
            "file": "mit1003_stimuli.zip",
            "urls": ("https://people.csail.mit.edu/tjudd/WherePeopleLook/ALLSTIMULI.zip",),
            "md5": "0d7df8b954ecba69b6796e77b9afe4b6",
        },
        {
            "file": "mit1003_fixations.zip",
            "urls": ("https://people.csail.mit.edu/tjudd/WherePeopleLook/ALLFIXATIONMAPS.zip",),
        },
    ],
    "cat2000": [
        {
            "file": "cat2000.zip",
            "urls": ("http://saliency.mit.edu/trainSet.zip",),
            "md5": "56ad5c77e6c8f72ed9ef2901628d6e48",
        },
    ],
    "dutomron": [
        {
            "file": "dutomron_images.zip",
            "urls": ("http://saliencydetection.net/dut-omron/download/DUT-OMRON-image.zip",),
            "md5": "a8951db9297afacf78bc0e5079103cf1",
        },
        {
            "file": "dutomron_fixations.zip",
            "urls": (
                "http://saliencydetection.net/dut-omron/download/DUT-OMRON-eye-fixations.zip",
            ),
            "md5": "d9f4f83fcc78b1e5efb579ae9fb0edc2",
        },
    ],
    # Plain HTTP, because the host's certificate is invalid; the sum makes up for it.
    "pascals": [
        {
            "file": "pascals.zip",
            "urls": ("http://cbs.ic.gatech.edu/salobj/download/salObj.zip",),
            "md5": "e48b4e5deac08bddcaec55ce56e4d420",
        },
    ],
    "osie": [
        {
            "file": "osie.zip",
            "urls": (
                "https://github.com/NUS-VIP/predicting-human-gaze-beyond-pixels/archive/master.zip",
            ),
        },
    ],
    "fiwi": [
        {
            "file": "fiwi.zip",
            "urls": ("https://www.dropbox.com/s/30nxg2uwd1wpb80/webpage_dataset.zip?dl=1",),
        },
    ],
}

# GitHub packs its archives anew now and then, so the sum is that of the file inside.
OSIE_FIXATIONS_MD5 = "8efdf6fe66f38b6e70f854c7ff45aa70"

VGG16 = {
    "file": "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "urls": (
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    "md5": "6d6bbae143d832006294945121d1f1fc",
}

# The models that the paper's authors trained, as frozen TensorFlow 1 graphs on Google Drive.
PRETRAINED = {
    "salicon": {
        "cpu": "1Xy9C72pcA8DO4CY0rc6B7wsuE9L9DDZY",
        "gpu": "1Th7fqVYx25ePMZz4LYsjNQWgAu8tJqwL",
    },
    "mit1003": {
        "cpu": "1jsESjYtsTvkMqKftA4rdstfB7mSYw5Ec",
        "gpu": "1P_tWxBl3igZlzcHGp5H3T3kzsOskWeG6",
    },
    "cat2000": {
        "cpu": "1XxaEx7xxD6rHasQTa-VY7T7eVpGhMxuV",
        "gpu": "1T6ChEGB6Mf02gKXrENjdeD6XXJkE_jHh",
    },
    "dutomron": {
        "cpu": "14tuRZpKi8LMDKRHNVUylu6RuAaXLjHTa",
        "gpu": "15LG_M45fpYC1pTwnwmArNTZw_Z3BOIA-",
    },
    "pascals": {
        "cpu": "1af9IvBqFamKWx64Ror6ALivuKNioOVIf",
        "gpu": "1C-T-RQzX2SaiY9Nw1HmaSx6syyCt01Z0",
    },
    "osie": {
        "cpu": "1JD1tvAqZGxj_gEGmIfoxb9dTe5HOaHj1",
        "gpu": "1g8UPr1hGpUdOSWerRb751pZqiWBOZOCh",
    },
    "fiwi": {
        "cpu": "19qj9nAjd5gVHLB71oRn_YfYDw5n4Uf2X",
        "gpu": "12OpIMIi2IyDVaxkE2d37XO9uUsSYf1Ec",
    },
}
