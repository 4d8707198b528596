"""Data sets that we read ourselves: small ones in the original form, and whose label is whose."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from zsclip.errors import UsageError
from zsclip.readers.base import Sample
from zsclip.readers.known import read_known
from zsclip.results import Failure


def write(path: Path, content: str | bytes = b"a picture, which no reader decodes") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def samples(name: str, root: Path, **options) -> dict[str, Sample]:
    return {Path(s.path).name: s for s in read_known(name, root, **options).read()}


def shown(name: str, root: Path, **options) -> dict[str, str]:
    """What each picture shows, by the name of its file or row."""
    pictures = read_known(name, root, **options)
    found = list(pictures.read())
    assert pictures.size == len(found)
    return {Path(s.path).name: pictures.class_names[s.labels[0]][0] for s in found}


# lists


def write_voc(root: Path, marks: dict[str, dict[str, int]], split: str = "test") -> Path:
    folder = root / "VOCdevkit" / "VOC2007"
    for label, pictures in marks.items():
        lines = "".join(f"{key} {mark:2}\n" for key, mark in pictures.items())
        write(folder / "ImageSets" / "Main" / f"{label}_{split}.txt", lines)
    return folder


def test_voc2007_shows_several_classes_and_ignores_difficult_ones(tmp_path):
    folder = write_voc(
        tmp_path,
        {
            "aeroplane": {"000001": -1, "000002": 1, "000003": -1},
            "diningtable": {"000001": 1, "000002": -1, "000003": -1},
            "person": {"000001": 1, "000002": 0, "000003": -1},
            "tvmonitor": {"000001": 0, "000002": -1, "000003": -1},
        },
    )

    pictures = read_known("voc2007", tmp_path)

    names = [first for first, *_ in pictures.class_names]
    found = {
        Path(s.path).stem: ([names[i] for i in s.labels], [names[i] for i in s.ignored])
        for s in pictures.read()
    }
    assert found == {
        "000001": (["diningtable", "person"], ["tvmonitor"]),
        "000002": (["aeroplane"], ["person"]),
        "000003": ([], []),
    }
    assert pictures.multi_label
    assert pictures.metric == "map11"
    path = str(folder / "JPEGImages" / "000002.jpg")
    assert path in {s.source for s in pictures.read()}


def test_voc2007_reads_the_lists_of_its_split_only(tmp_path):
    write_voc(tmp_path, {"cat": {"000001": 1}}, split="test")
    write_voc(tmp_path, {"cat": {"000002": 1}}, split="train")
    write_voc(tmp_path, {"cat": {"000002": 1, "000003": -1}}, split="trainval")

    assert set(samples("voc2007", tmp_path, split="train")) == {"000002.jpg"}


def test_oxford_pets_are_matched_by_the_names_of_their_pictures(tmp_path):
    lines = "great_pyrenees_12 16 2 9\nBritish_Shorthair_3 10 1 5\nAbyssinian_201 1 1 1\n"
    write(tmp_path / "oxford-iiit-pet" / "annotations" / "test.txt", lines)

    assert shown("oxford_pets", tmp_path) == {
        "great_pyrenees_12.jpg": "great pyrenees",
        "British_Shorthair_3.jpg": "British Shorthair",
        "Abyssinian_201.jpg": "Abyssinian",
    }


def test_gtsrb_is_read_by_its_table(tmp_path):
    folder = tmp_path / "gtsrb"
    (folder / "GTSRB" / "Final_Test" / "Images").mkdir(parents=True)
    head = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\r\n"
    rows = "00000.ppm;53;54;6;5;48;49;14\r\n00001.ppm;42;45;5;5;36;40;2\r\n"
    write(folder / "GT-final_test.csv", head + rows)

    assert shown("gtsrb", tmp_path) == {
        "00000.ppm": "stop",
        "00001.ppm": "red and white circle 50 kph speed limit",
    }


def test_numbers_of_gtsrbs_training_folders_have_leading_zeros(tmp_path):
    for folder, name in (("00014", "a.ppm"), ("00002", "b.ppm")):
        write(tmp_path / "gtsrb" / "GTSRB" / "Training" / folder / name)
        write(tmp_path / "gtsrb" / "GTSRB" / "Training" / folder / f"GT-{folder}.csv", "")

    assert shown("gtsrb", tmp_path, split="train") == {
        "a.ppm": "stop",
        "b.ppm": "red and white circle 50 kph speed limit",
    }


def test_birdsnap_leaves_out_what_could_not_be_fetched(tmp_path):
    folder = tmp_path / "birdsnap"
    paths = ["Coopers_Hawk/2.jpg", "Acadian_Flycatcher/1.jpg", "Bushtit/3.jpg", "Bushtit/4.jpg"]
    rows = [f"http://x/{n}\t0\t{path}\t{n}\n" for n, path in enumerate(paths)]
    write(folder / "images.txt", "url\tmd5\tpath\tspecies_id\n" + "".join(rows))
    write(folder / "test_images.txt", "path\n" + "".join(f"{path}\n" for path in paths[:3]))
    for path in (paths[0], paths[1], paths[3]):
        write(folder / "download" / "images" / path)

    pictures = read_known("birdsnap", tmp_path)

    assert shown("birdsnap", tmp_path) == {"1.jpg": "Acadian Flycatcher", "2.jpg": "Coopers Hawk"}
    assert shown("birdsnap", tmp_path, split="train") == {"4.jpg": "Bushtit"}
    assert pictures.notes[0] == "2 pictures were found, and the test split has 2,443"


def test_sun397_is_read_by_the_lists_of_its_first_partition(tmp_path):
    folder = tmp_path / "SUN397"
    write(folder / "Testing_01.txt", "/j/jail/indoor/sun_b.jpg\n/j/jail_cell/sun_a.jpg\n")
    write(folder / "Training_01.txt", "/a/abbey/sun_c.jpg\n")

    assert shown("sun397", tmp_path, split="test") == {
        "sun_b.jpg": "jail indoor",
        "sun_a.jpg": "jail cell",
    }
    assert shown("sun397", tmp_path, split="train") == {"sun_c.jpg": "abbey"}
    notes = read_known("sun397", tmp_path, split="test").notes
    assert notes[0] == "2 pictures were found, and the test split has 19,850"
    path = str(folder / "j" / "jail" / "indoor" / "sun_b.jpg")
    assert samples("sun397", tmp_path, split="test")["sun_b.jpg"].source == path


@pytest.mark.parametrize("name", ["dev_seen.jsonl", "dev.jsonl"])
def test_hateful_memes_are_read_by_json_lines(tmp_path, name):
    rows = [{"id": 8291, "img": "img/08291.png", "label": 1, "text": "white\u2028people"}]
    rows.append({"id": 46971, "img": "img/46971.png", "label": 0, "text": "bravery"})
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write(tmp_path / "hateful_memes" / name, lines)

    assert shown("hateful_memes", tmp_path) == {"08291.png": "hatespeech meme", "46971.png": "meme"}


def test_a_split_without_labels_is_refused(tmp_path):
    write(tmp_path / "hateful_memes" / "test_seen.jsonl", '{"id": 1, "img": "img/1.png"}\n')

    with pytest.raises(UsageError, match="cannot be read: KeyError 'label'"):
        read_known("hateful_memes", tmp_path, split="test_seen")


# KITTI


def write_kitti(root: Path, number: int, *objects: str) -> None:
    folder = root / "Kitti" / "raw" / "training"
    write(folder / "image_2" / f"{number:06}.png")
    write(folder / "label_2" / f"{number:06}.txt", "".join(f"{line}\n" for line in objects))


def an_object(kind: str, depth: float) -> str:
    return f"{kind} 0.00 0 -0.20 712.40 143.00 810.73 307.92 1.89 0.48 1.20 1.84 1.47 {depth} 0.01"


def test_kitti_is_classed_by_the_nearest_vehicle(tmp_path):
    write_kitti(tmp_path, 0, an_object("Car", 30.5), an_object("Van", 7.9))
    write_kitti(tmp_path, 1, an_object("Truck", 8.41), an_object("Pedestrian", 2.0))
    write_kitti(tmp_path, 2, an_object("Car", 20.01), an_object("DontCare", -1000))
    write_kitti(tmp_path, 3, an_object("Cyclist", 5.0), an_object("Tram", 9.0))
    write_kitti(tmp_path, 4, an_object("Car", 8.0))
    write_kitti(tmp_path, 5)

    assert list(shown("kitti", tmp_path).items()) == [
        ("000000.png", "a photo i took of a car on my left or right side."),
        ("000001.png", "a photo i took with a car nearby."),
        ("000002.png", "a photo i took with a car in the distance."),
        ("000003.png", "a photo i took with no car."),
        ("000004.png", "a photo i took of a car on my left or right side."),
        ("000005.png", "a photo i took with no car."),
    ]


def test_kitti_is_split_by_video_as_tensorflow_datasets_does(tmp_path):
    mapping = tmp_path / "Kitti" / "raw" / "mapping"
    order = np.random.default_rng(0).permutation(60) + 1  # of each picture its line
    videos = [f"2011_09_26_drive_{line % 30:04}_sync" for line in range(60)]
    lines = [f"2011_09_26 {video} {line:010}\n" for line, video in enumerate(videos)]
    write(mapping / "train_mapping.txt", "".join(lines))
    write(mapping / "train_rand.txt", ",".join(map(str, order)))
    for number in range(60):
        write_kitti(tmp_path, number)

    found = {
        split: {int(Path(name).stem) for name in samples("kitti", tmp_path, split=split)}
        for split in ("test", "val", "train")
    }

    state = np.random.get_state()
    np.random.seed(123)
    test = np.random.choice(sorted(set(videos)), 3, replace=False)
    rest = sorted(set(videos) - set(test))
    val = np.random.choice(rest, 3, replace=False)
    np.random.set_state(state)
    video_of = {number: videos[line - 1] for number, line in enumerate(order)}
    assert found["test"] == {n for n, video in video_of.items() if video in test}
    assert found["val"] == {n for n, video in video_of.items() if video in val}
    assert found["train"] == set(range(60)) - found["test"] - found["val"]


def test_the_split_of_kitti_needs_its_mapping(tmp_path):
    write_kitti(tmp_path, 0)

    with pytest.raises(UsageError, match=r"no such file or directory: '.*train_rand\.txt'"):
        read_known("kitti", tmp_path, split="test")


# pixels


@pytest.mark.parametrize(
    "name, head",
    [
        ("fer2013.csv", ["emotion", "pixels", "Usage"]),
        ("icml_face_data.csv", ["emotion", " Usage", " pixels"]),
    ],
)
def test_fer2013_is_read_by_its_table(tmp_path, name, head):
    (tmp_path / "fer2013").mkdir()
    rows = [(3, "PrivateTest"), (0, "PublicTest"), (6, "PrivateTest"), (1, "Training")]
    with open(tmp_path / "fer2013" / name, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(head)
        for emotion, usage in rows:
            grey = " ".join(str((emotion + i) % 256) for i in range(48 * 48))
            cells = {"emotion": emotion, "pixels": grey, "Usage": usage}
            table.writerow([cells[key.strip()] for key in head])

    found = samples("fer2013", tmp_path)

    pictures = read_known("fer2013", tmp_path)
    assert [pictures.class_names[s.labels[0]] for s in found.values()] == [
        ("happy", "smiling"),
        pictures.class_names[6],
    ]
    assert list(shown("fer2013", tmp_path, split="val").values()) == ["angry"]
    assert list(shown("fer2013", tmp_path, split="train").values()) == ["disgusted"]
    assert list(found) == [f"{name}#0", f"{name}#2"]
    pixels = found[f"{name}#0"].source
    assert pixels.dtype == np.uint8
    assert pixels[0, :3].tolist() == [3, 4, 5]
    assert pixels[1, 0] == 3 + 48


def test_pcam_is_read_row_by_row(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "pcam").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    labels = np.array([1, 0, 1], np.uint8).reshape(3, 1, 1, 1)
    for name, rows in (("x", pixels), ("y", labels)):
        path = tmp_path / "pcam" / f"camelyonpatch_level_2_split_test_{name}.h5"
        with h5py.File(path, "w") as file:
            file[name] = rows

    found = samples("pcam", tmp_path)

    assert list(shown("pcam", tmp_path).values()) == [
        "lymph node containing metastatic tumor tissue",
        "lymph node",
        "lymph node containing metastatic tumor tissue",
    ]
    last = found["camelyonpatch_level_2_split_test_x.h5#2"]
    np.testing.assert_array_equal(last.source, pixels[2])


# videos


def write_clip(path: Path, shade: int) -> None:
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in (0, shade, 255):
            pixels = np.full((48, 64, 3), value, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def test_ucf101_is_read_by_its_first_list(tmp_path):
    clips = {"YoYo/v_YoYo_g01_c01.avi": 100, "HammerThrow/v_HammerThrow_g01_c01.avi": 200}
    for path, shade in clips.items():
        write_clip(tmp_path / "UCF-101" / path, shade)
    lists = tmp_path / "ucfTrainTestlist"
    write(lists / "testlist01.txt", "".join(f"{path}\r\n" for path in clips))
    write(lists / "trainlist01.txt", "YoYo/v_YoYo_g08_c01.avi 101\n")

    found = samples("ucf101", tmp_path)

    assert shown("ucf101", tmp_path) == {
        "v_YoYo_g01_c01.avi": "Yo Yo",
        "v_HammerThrow_g01_c01.avi": "Hammer Throw",
    }
    assert found["v_YoYo_g01_c01.avi"].source.mean() == pytest.approx(100, abs=4)
    assert shown("ucf101", tmp_path, split="train") == {"v_YoYo_g08_c01.avi": "Yo Yo"}


def test_a_video_that_cannot_be_decoded_is_a_failure_in_its_place(tmp_path):
    write(tmp_path / "UCF-101" / "YoYo" / "broken.avi", b"not a video")
    write(tmp_path / "ucfTrainTestlist" / "testlist01.txt", "YoYo/broken.avi\nYoYo/gone.avi\n")
    pytest.importorskip("av")

    found = samples("ucf101", tmp_path)

    broken, gone = found["broken.avi"].source, found["gone.avi"].source
    assert isinstance(broken, Failure)
    assert broken.code == "corrupt"
    assert gone == Failure("not_found", "no such file")


def test_kinetics_is_read_by_class_folders_whatever_their_blanks_are(tmp_path):
    folder = tmp_path / "kinetics700" / "val"
    write_clip(folder / "petting_animal_not_cat" / "a_000001_000011.mp4", 100)
    write_clip(folder / "acting in play" / "b_000001_000011.mp4", 200)

    assert shown("kinetics700", tmp_path) == {
        "b_000001_000011.mp4": "acting in play",
        "a_000001_000011.mp4": "petting animal (not cat)",
    }


def test_kinetics_is_read_by_its_table(tmp_path):
    folder = tmp_path / "kinetics700"
    head = "label,youtube_id,time_start,time_end,split\n"
    rows = "acting in play,--a,3,13,val\nabseiling,b_c,120,130,val\nabseiling,gone,1,11,val\n"
    write(folder / "annotations" / "val.csv", head + rows)
    write_clip(folder / "val" / "--a_000003_000013.mp4", 100)
    write_clip(folder / "val" / "b_c_000120_000130.mp4", 200)

    assert shown("kinetics700", tmp_path) == {
        "--a_000003_000013.mp4": "acting in play",
        "b_c_000120_000130.mp4": "abseiling",
    }
