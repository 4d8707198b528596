"""Turn drawings into training pictures: place, colour, dirty and normalise a whole batch at once.

Works on tensors only; knows nothing about concepts, text or models.
Shapes: B drawings (B, 96, 96, 4) uint8 premultiplied; pictures (B, 3, 64, 64) float32.
"""

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

IMAGE_SIZE = 64
MEAN = STD = (0.5, 0.5, 0.5)
LUMA = torch.tensor([0.299, 0.587, 0.114])
TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def uniform(count: int, low: float, high: float) -> torch.Tensor:
    """Return (count,) numbers between two bounds."""
    return torch.empty(count).uniform_(low, high)


def chance(count: int, probability: float) -> torch.Tensor:
    """Return (count, 1, 1, 1) bool, true with the probability given."""
    return (torch.rand(count) < probability).view(-1, 1, 1, 1)


def augment(
    drawings: torch.Tensor,
    *,
    strength: float,
    keeps_colour: torch.Tensor,
    keeps_side: torch.Tensor,
    is_mono: torch.Tensor,
) -> torch.Tensor:
    """Return normalised training pictures (B, 3, 64, 64).

    Args:
        drawings: (B, 96, 96, 4) uint8, premultiplied RGBA.
        strength: 0 is hardly changed, 1 is the strongest.
        keeps_colour: (B,) bool, true where the name tells the colour.
        keeps_side: (B,) bool, true where a mirrored drawing has another name.
        is_mono: (B,) bool, true for black silhouettes and line art, which may take any colour.
    """
    rgba = place(drawings, strength=strength, keeps_side=keeps_side)
    rgba = tint(rgba, is_mono=is_mono & ~keeps_colour)
    rgba = recolour(rgba, strength=strength, keeps_colour=keeps_colour)
    rgba = outline(rgba, strength=strength, keeps_colour=keeps_colour)
    colours, alpha = rgba[:, :3], rgba[:, 3:]
    pictures = colours + (1 - alpha) * backgrounds(rgba)
    return normalize(dirty(pictures.clamp(0, 1), strength=strength))


def place(drawings: torch.Tensor, *, strength: float, keeps_side: torch.Tensor) -> torch.Tensor:
    """Return (B, 4, 64, 64): each drawing in its own size, turn, shear and place."""
    count = len(drawings)
    size = 0.98 - uniform(count, 0, 1) ** 1.5 * 0.6  # share of the frame: 0.38 to 0.98
    turn = uniform(count, -1, 1) * math.radians(4 + 16 * strength)
    stretch = 1 + uniform(count, -1, 1) * 0.15 * strength
    shear = uniform(count, -1, 1) * 0.15 * strength
    flip = torch.where((torch.rand(count) < 0.5) & ~keeps_side, -1.0, 1.0)
    room = (1 - size) * 0.9 + 0.04
    cos, sin = torch.cos(turn) / size, torch.sin(turn) / size
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 1] = flip * cos * stretch, flip * (shear - sin)
    matrix[:, 1, 0], matrix[:, 1, 1] = sin, cos / stretch
    shift = torch.stack([uniform(count, -1, 1) * room, uniform(count, -1, 1) * room], dim=1)
    matrix[:, :, 2] = -(matrix[:, :, :2] @ shift.unsqueeze(2)).squeeze(2)
    grid = F.affine_grid(matrix, [count, 4, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    source = drawings.permute(0, 3, 1, 2).float().div_(255)
    # a drawing that shrinks is averaged first, or its lines would fall between the samples
    level = torch.log2(drawings.shape[1] / (size * IMAGE_SIZE)).long().clamp(0, 2)
    placed = torch.empty(count, 4, IMAGE_SIZE, IMAGE_SIZE)
    for depth in range(3):
        rows = (level == depth).nonzero().squeeze(1)
        if len(rows):
            smaller = F.avg_pool2d(source[rows], 2**depth) if depth else source[rows]
            placed[rows] = F.grid_sample(smaller, grid[rows], align_corners=False)
    return placed


def tint(rgba: torch.Tensor, *, is_mono: torch.Tensor) -> torch.Tensor:
    """Paint half of the silhouettes in a random colour, mostly dark."""
    rows = is_mono.view(-1, 1, 1, 1) & chance(len(rgba), 0.5)
    paint = torch.rand(len(rgba), 3, 1, 1) * uniform(len(rgba), 0.2, 1.0).view(-1, 1, 1, 1)
    painted = torch.cat([rgba[:, 3:] * paint, rgba[:, 3:]], dim=1)
    return torch.where(rows, painted, rgba)


def recolour(rgba: torch.Tensor, *, strength: float, keeps_colour: torch.Tensor) -> torch.Tensor:
    """Turn hue, saturation and brightness; little where the name tells the colour."""
    count = len(rgba)
    free = torch.where(keeps_colour, 0.12, 1.0)
    hue = torch.randn(count) * 0.45 * strength * free
    saturation = 1 + uniform(count, -1, 1) * 0.6 * strength * free
    gray = (torch.rand(count) < 0.12 * strength) & ~keeps_colour
    saturation = torch.where(gray, 0.0, saturation)
    rotate = torch.zeros(count, 3, 3)
    rotate[:, 0, 0] = 1
    rotate[:, 1, 1] = rotate[:, 2, 2] = torch.cos(hue) * saturation
    rotate[:, 1, 2], rotate[:, 2, 1] = -torch.sin(hue) * saturation, torch.sin(hue) * saturation
    matrix = torch.linalg.inv(TO_YIQ) @ rotate @ TO_YIQ  # (B, 3, 3)
    colours = torch.einsum("bij,bjhw->bihw", matrix, rgba[:, :3])
    alpha = rgba[:, 3:]
    contrast = (1 + uniform(count, -1, 1) * 0.35 * strength).view(-1, 1, 1, 1)
    lift = (uniform(count, -1, 1) * 0.15 * strength).view(-1, 1, 1, 1)
    colours = (colours - 0.5 * alpha) * contrast + (0.5 + lift) * alpha
    return torch.cat([torch.minimum(colours.clamp(min=0), alpha), alpha], dim=1)


def outline(rgba: torch.Tensor, *, strength: float, keeps_colour: torch.Tensor) -> torch.Tensor:
    """Draw dark contours on some drawings, and turn a few into pure line art."""
    count = len(rgba)
    contours = (torch.rand(count) < 0.35 * strength).nonzero().squeeze(1)
    if not len(contours):
        return rgba
    part = rgba[contours]
    colours, alpha = part[:, :3], part[:, 3:]
    wide = F.max_pool2d(alpha, 3, stride=1, padding=1)
    value = torch.cat([colours, alpha], dim=1)
    spread = F.max_pool2d(value, 3, stride=1, padding=1) + F.max_pool2d(-value, 3, 1, 1)
    gain = uniform(len(part), 1.5, 5.0).view(-1, 1, 1, 1)
    line = (spread.amax(1, keepdim=True) * gain - 0.5).clamp(0, 1) * wide
    pure = (torch.rand(len(part)) < 0.3) & ~keeps_colour[contours]
    colours = torch.where(pure.view(-1, 1, 1, 1), alpha, colours)  # white inside
    ink = torch.rand(len(part), 1, 1, 1) * 0.25
    colours = colours * (1 - line) + ink * line
    rgba = rgba.clone()
    rgba[contours] = torch.cat([colours, torch.maximum(alpha, line)], dim=1)
    return rgba


def backgrounds(rgba: torch.Tensor) -> torch.Tensor:
    """Return (B, 3, 64, 64): half white, else a colour or gradient unlike the drawing."""
    count = len(rgba)
    corner = torch.rand(2, count, 3, 1, 1)
    pale = (torch.rand(count, 1, 1, 1) < 0.5).float() * 0.6
    corner = corner * (1 - pale) + pale
    ramp = torch.linspace(0, 1, rgba.shape[2]).view(1, 1, -1, 1)
    weight = ramp * chance(count, 0.4)
    ground = corner[0] * (1 - weight) + corner[1] * weight
    ground = ground.expand(count, 3, *rgba.shape[2:])
    luma = LUMA.view(1, 3, 1, 1)
    area = rgba[:, 3:].sum((2, 3), keepdim=True).clamp(min=1e-3)
    drawn = (rgba[:, :3] * luma).sum((1, 2, 3)).view(-1, 1, 1, 1) / area
    near = ((ground * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True) - drawn).abs() < 0.25
    return torch.where(near | chance(count, 0.5), torch.ones(()), ground)


def dirty(pictures: torch.Tensor, *, strength: float) -> torch.Tensor:
    """Blur, add noise, save as JPEG and erase a part, each on some of the pictures."""
    count = len(pictures)
    soft = (torch.rand(count) < 0.2 * strength).nonzero().squeeze(1)
    if len(soft):
        wide = F.pad(pictures[soft], (1, 1, 1, 1), mode="replicate")
        pictures[soft] = F.avg_pool2d(F.avg_pool2d(wide, 2, 1), 2, 1)  # 1 2 1 in both directions
    noisy = (torch.rand(count) < 0.25).nonzero().squeeze(1)
    if len(noisy):
        part = pictures[noisy]
        amount = (uniform(len(part), 0, 0.06) * strength).view(-1, 1, 1, 1)
        pictures[noisy] = (part + torch.randn_like(part) * amount).clamp(0, 1)
    for row in (torch.rand(count) < 0.08 * strength).nonzero().squeeze(1).tolist():
        pictures[row] = through_jpeg(pictures[row], quality=int(uniform(1, 35, 90)))
    for row in (torch.rand(count) < 0.25 * strength).nonzero().squeeze(1).tolist():
        side = pictures.shape[2]
        high, wide = (int(share * side) for share in uniform(2, 0.12, 0.44))
        top, left = int(uniform(1, 0, side - high)), int(uniform(1, 0, side - wide))
        pictures[row, :, top : top + high, left : left + wide] = torch.rand(3, 1, 1)
    return pictures


def through_jpeg(picture: torch.Tensor, *, quality: int) -> torch.Tensor:
    """Return the picture (3, 64, 64) as it looks after JPEG."""
    pixels = picture.mul(255).byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).float().div(255)


def normalize(pictures: torch.Tensor) -> torch.Tensor:
    """Return pictures as the model reads them."""
    return (pictures - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def on_white(drawings: torch.Tensor, *, share: float) -> torch.Tensor:
    """Return test pictures (B, 3, 64, 64): the drawing on white, filling a share of the frame."""
    side = round(IMAGE_SIZE * share)
    source = drawings.permute(0, 3, 1, 2).float().div(255)
    small = F.interpolate(source, (side, side), mode="bicubic", antialias=True, align_corners=False)
    before = (IMAGE_SIZE - side) // 2
    after = IMAGE_SIZE - side - before
    small = F.pad(small, (before, after, before, after))
    return normalize((small[:, :3] + 1 - small[:, 3:]).clamp(0, 1))
