"""A small valid file of every format and variant that is read, to be mutated."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np

from tests.readers.helpers import Gltf
from tests.readers.test_mesh_kinds import TETRAHEDRON, model

# Half a second each until their limit ends them, or the end of a process: too much for hundreds of thousands.
COSTLY = ("laughs.wrl", "crash.laz")


def seed_files(folder: Path) -> Path:
    """Write a small valid file of every format and variant, and give the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    fixtures = Path(__file__).parent.parent / "fixtures"
    for path in sorted([*(fixtures / "cases").iterdir(), *(fixtures / "hostile").iterdir()]):
        if path.stat().st_size < 8000 and path.name not in COSTLY:
            (folder / path.name).write_bytes(path.read_bytes())
    cloud = np.random.default_rng(0).random((20, 3)).astype("<f4")
    text = "\n".join(" ".join(f"{value:.3f}" for value in row) for row in cloud.tolist())
    for name, content in _texts(text).items():
        (folder / name).write_text(content)
    for name, data in _binaries(cloud, folder).items():
        (folder / name).write_bytes(data)
    return folder


def _texts(cloud: str) -> dict[str, str]:
    triangle = "vertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\n"
    points = "coord Coordinate { point [0 0 0, 1 0 0, 0 1 0, 1 1 0] } coordIndex [0,1,2,-1,1,3,2,-1]"
    material = "appearance Appearance { material DEF M Material { diffuseColor 1 0 0 } }"
    shape = f"DEF S Shape {{ geometry IndexedFaceSet {{ {points} }} {material} }}"
    switch = "Switch { whichChoice 0 choice [ USE S ] }"
    placed = f"Transform {{ scale 2 1 1 rotation 0 0 1 .5 children [ {shape} ] }}"
    head = "".join(f"property float {axis}\n" for axis in "xyz")
    faces = "element face 1\nproperty list uchar int vertex_indices\n"
    strips = "element tristrips 1\nproperty list int int vertex_indices\n"
    corners = "0 0 0\n1 0 0\n0 1 0\n1 1 0\n"
    fields = (
        "VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 20\nHEIGHT 1\nPOINTS 20\nDATA ascii\n"
    )
    records = "3 16 0 0 0 1 0 0 0 1 0\n4 16 0 0 0 1 0 0 1 1 0 0 1 0\n1 16 1 2 3 1 0 0 0 1 0 0 0 1 t2.dat\n"
    return {
        "t.off": f"OFF\n4 2 0\n{corners}3 0 1 2\n3 1 3 2\n",
        "t.stl": f"solid a\nfacet normal 0 0 1\nouter loop\n{triangle}endloop\nendfacet\nendsolid a\n",
        "t.wrl": f"#VRML V2.0 utf8\nDEF G Group {{ children [ {placed} USE S {switch} ] }}\n",
        "t.ply": f"ply\nformat ascii 1.0\nelement vertex 4\n{head}{faces}{strips}end_header\n"
        f"{corners}4 0 1 3 2\n5 0 1 2 -1 3\n",
        "t.xyz": f"id x y z\n{cloud}".replace("\n0", "\n7 0"),
        "t.pts": f"20\n{cloud}\n",
        "semicolon.xyz": cloud.replace(".", ",").replace(" ", ";"),
        "t.pcd": f"{fields}{cloud}\n",
        "t.dat": f"0 a part\n{records}",
        "t2.dat": "0 a piece\n3 16 0 0 0 1 0 0 0 1 0\n",
    }


def _binaries(cloud: np.ndarray, folder: Path) -> dict[str, bytes]:
    array, packed, objects = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(array, cloud)
    np.savez(packed, points=cloud, faces=np.array([[0, 1, 2]]))
    components = '<components><component objectid="1"/></components>'
    parts = f'<object id="1">{TETRAHEDRON}</object><object id="2">{components}</object>'
    with zipfile.ZipFile(objects, "w") as archive:
        archive.writestr("3D/3dmodel.model", model(parts, '<item objectid="2" transform="1 0 0 0 1 0 0 0 1 0 0 5"/>'))
    head = "".join(f"property float {axis}\n" for axis in "xyz")
    ply = f"ply\nformat binary_little_endian 1.0\nelement vertex 20\n{head}element face 2\n"
    ply += "property list uchar int vertex_indices\nend_header\n"
    faces = struct.pack("<B3iB4i", 3, 0, 1, 2, 4, 0, 1, 2, 3)
    pcd = "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 20\nHEIGHT 1\nPOINTS 20\nDATA "
    columns = np.ascontiguousarray(cloud.T).tobytes()
    lzf = b"".join(bytes([len(columns[i : i + 32]) - 1]) + columns[i : i + 32] for i in range(0, len(columns), 32))
    files = {
        "t.npy": array.getvalue(), "t.npz": packed.getvalue(), "t.3mf": objects.getvalue(),
        "b.ply": ply.encode() + cloud.tobytes() + faces,
        "b.pcd": f"{pcd}binary\n".encode() + cloud.tobytes(),
        "z.pcd": f"{pcd}binary_compressed\n".encode() + struct.pack("<II", len(lzf), len(columns)) + lzf,
        "b.stl": b"a" * 80 + struct.pack("<I", 3) + bytes(150),
    }  # fmt: skip
    gltf = Gltf()
    primitive = gltf.primitive(cloud, np.arange(18))
    primitive["targets"] = [{"POSITION": gltf.accessor(cloud)}]
    primitive["attributes"]["JOINTS_0"] = gltf.accessor(np.zeros((20, 4), dtype="<u1"))
    primitive["attributes"]["WEIGHTS_0"] = gltf.accessor(np.ones((20, 4), dtype="<f4"))
    gltf.content["meshes"][0]["weights"] = [0.5]
    gltf.content["skins"] = [{"joints": [1]}]
    gltf.content["nodes"] = [
        {"mesh": 0, "skin": 0},
        {"mesh": 0, "translation": [1, 0, 0], "children": [2]},
        {"mesh": 0},
    ]
    gltf.content["scenes"] = [{"nodes": [0, 1]}]
    gltf.content["accessors"][0]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": gltf.view(b"\1\0\0\0"), "componentType": 5123},
        "values": {"bufferView": gltf.view(bytes(12))},
    }
    for name in ("t.glb", "t.gltf"):
        gltf.write(folder / name)
    try:
        import laspy
    except ImportError:
        return files
    for name in ("t.las", "t.laz"):
        las = laspy.create(point_format=3, file_version="1.4")
        las.xyz = cloud
        las.write(folder / name)
    return files
