//! Overlapping tiles of a large picture.

use super::Region;

/// Squares of side `side` that cover a picture, row by row; on each axis, neighbours share at least `overlap` of a side.
/// They are spread evenly. A picture that is smaller than a tile on an axis has one tile there, of its own length.
pub fn tiles((width, height): (u32, u32), side: u32, overlap: f64) -> Vec<Region> {
    let axis = |length: u32| -> Vec<(u32, u32)> {
        if length <= side {
            return vec![(0, length)];
        }
        let stride = (f64::from(side) * (1.0 - overlap)).max(1.0);
        let spaces = (f64::from(length - side) / stride).ceil() as u64;
        let start = |place: u64| (u64::from(length - side) * place / spaces) as u32;
        (0..=spaces).map(|place| (start(place), side)).collect()
    };
    let (columns, rows) = (axis(width), axis(height));
    let row = |&(top, height): &(u32, u32)| {
        columns.iter().map(move |&(left, width)| Region { left, top, width, height })
    };
    rows.iter().flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_picture_and_overlap() {
        for (size, side, overlap) in
            [((100, 40), 40, 0.2), ((1000, 1000), 333, 0.0), ((41, 40), 40, 0.5), ((640, 480), 64, 0.9)]
        {
            let all = tiles(size, side, overlap);
            let starts: Vec<u32> = all.iter().filter(|tile| tile.top == 0).map(|tile| tile.left).collect();
            assert_eq!((starts[0], starts[starts.len() - 1] + side.min(size.0)), (0, size.0));
            let shared = starts.windows(2).map(|pair| pair[0] + side - pair[1]);
            let least = (f64::from(side) * overlap).floor() as u32;
            assert!(shared.clone().all(|shared| shared >= least), "{starts:?}");
            assert!(all.iter().all(|tile| tile.top + tile.height <= size.1 && tile.width == side));
        }
        let small = tiles((30, 50), 40, 0.25);
        assert_eq!(small.iter().map(|tile| (tile.left, tile.width)).collect::<Vec<_>>(), [(0, 30); 2]);
        assert_eq!(tiles((40, 40), 40, 0.5), [Region { left: 0, top: 0, width: 40, height: 40 }]);
    }
}
