//! What the synthetic shop sells. All brands are invented.

/// One department; every list is as long as [`super::shop`] expects.
pub(super) struct Department {
    pub(super) name: &'static str,
    /// Kinds of articles; the beginning of item ids.
    pub(super) kinds: [&'static str; 5],
    pub(super) brands: [&'static str; 4],
    pub(super) tags: [&'static str; 5],
    /// Cheapest and dearest article.
    pub(super) prices: (f64, f64),
}

pub(super) const COLOURS: [&str; 8] =
    ["black", "white", "brass", "walnut", "sage", "navy", "terracotta", "grey"];

pub(super) const CITIES: [&str; 8] =
    ["Bergen", "Porto", "Graz", "Utrecht", "Tartu", "Lyon", "Malaga", "Leeds"];

pub(super) const AGE_GROUPS: [&str; 5] = ["18-24", "25-34", "35-44", "45-59", "60+"];

pub(super) const NAMES: [&str; 24] = [
    "ada", "bruno", "clara", "dario", "edda", "felix", "greta", "hugo", "ines", "jonas", "kira", "leon",
    "mira", "nils", "olga", "pavel", "quinn", "rosa", "silas", "tilda", "umar", "vera", "wim", "yara",
];

pub(super) const DEPARTMENTS: [Department; 12] = [
    Department {
        name: "lighting",
        kinds: ["desk-lamp", "floor-lamp", "pendant-lamp", "wall-lamp", "string-lights"],
        brands: ["Halden", "Lumiko", "Ostra", "Klarlicht"],
        tags: ["dimmable", "smart", "vintage", "battery", "outdoor"],
        prices: (12.0, 240.0),
    },
    Department {
        name: "kitchen",
        kinds: ["chef-knife", "frying-pan", "stock-pot", "cutting-board", "mixing-bowl"],
        brands: ["Ferro", "Maison Rue", "Tallum", "Brunel"],
        tags: ["cast-iron", "non-stick", "induction", "hand-made", "dishwasher-safe"],
        prices: (9.0, 190.0),
    },
    Department {
        name: "garden",
        kinds: ["pruning-shears", "plant-pot", "garden-hose", "bird-feeder", "seed-box"],
        brands: ["Verdane", "Hortus", "Moorland", "Sonnfeld"],
        tags: ["frost-proof", "organic", "balcony", "self-watering", "bee-friendly"],
        prices: (4.0, 95.0),
    },
    Department {
        name: "cycling",
        kinds: ["bike-light", "bike-helmet", "pannier-bag", "bike-pump", "saddle"],
        brands: ["Velocet", "Rondo", "Passo Alto", "Gravelle"],
        tags: ["gravel", "commuter", "road", "waterproof", "carbon"],
        prices: (8.0, 210.0),
    },
    Department {
        name: "photography",
        kinds: ["tripod", "camera-bag", "lens-filter", "photo-album", "film-roll"],
        brands: ["Obscura", "Kadr", "Lichtwerk", "Prismo"],
        tags: ["analogue", "travel", "studio", "macro", "monochrome"],
        prices: (7.0, 320.0),
    },
    Department {
        name: "coffee",
        kinds: ["hand-grinder", "coffee-beans", "drip-kettle", "espresso-cup", "filter-papers"],
        brands: ["Arabeska", "Slowpour", "Cremona", "Nordrost"],
        tags: ["single-origin", "light-roast", "dark-roast", "ceramic", "decaf"],
        prices: (3.0, 160.0),
    },
    Department {
        name: "board-games",
        kinds: ["card-game", "strategy-game", "party-game", "puzzle", "dice-set"],
        brands: ["Meeple Hall", "Sechseck", "Ludenta", "Foxglove"],
        tags: ["two-player", "cooperative", "family", "solo", "legacy"],
        prices: (6.0, 110.0),
    },
    Department {
        name: "running",
        kinds: ["running-shoes", "running-belt", "rain-jacket", "running-socks", "foam-roller"],
        brands: ["Strider", "Tempo Nord", "Altiva", "Kilometra"],
        tags: ["trail", "marathon", "reflective", "merino", "winter"],
        prices: (8.0, 185.0),
    },
    Department {
        name: "stationery",
        kinds: ["notebook", "fountain-pen", "desk-organiser", "ink-bottle", "wall-calendar"],
        brands: ["Papyra", "Schreiber", "Inkwell", "Foglio"],
        tags: ["dotted", "recycled", "calligraphy", "left-handed", "refillable"],
        prices: (3.0, 120.0),
    },
    Department {
        name: "pets",
        kinds: ["cat-tree", "dog-leash", "food-bowl", "chew-toy", "pet-bed"],
        brands: ["Pawline", "Whisker", "Fidelio", "Bruno & Co"],
        tags: ["cat", "dog", "puppy", "washable", "senior"],
        prices: (5.0, 140.0),
    },
    Department {
        name: "music",
        kinds: ["headphones", "record-player", "guitar-strings", "music-stand", "vinyl-box"],
        brands: ["Sonora", "Basswald", "Treble", "Kammerton"],
        tags: ["wireless", "hi-fi", "acoustic", "jazz", "beginner"],
        prices: (6.0, 380.0),
    },
    Department {
        name: "camping",
        kinds: ["tent", "sleeping-bag", "camping-stove", "head-torch", "dry-bag"],
        brands: ["Fjellro", "Basecamp Nine", "Lagerfeuer", "Sierrana"],
        tags: ["ultralight", "three-season", "winter", "two-person", "family"],
        prices: (9.0, 420.0),
    },
];
