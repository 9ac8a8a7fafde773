//! Sixteen bytes compared at once. Masks have a bit per byte, the first byte lowest.

/// Sixteen bytes at a time with SSE2, which every x86-64 has.
#[cfg(target_arch = "x86_64")]
mod simd {
    use safe_arch::{
        bitor_m128i, bitxor_m128i, cmp_eq_mask_i8_m128i, load_unaligned_m128i, m128i, min_u8_m128i,
        move_mask_i8_m128i, set_splat_i8_m128i,
    };

    #[derive(Clone, Copy)]
    pub(crate) struct Lanes(m128i);

    impl Lanes {
        #[inline]
        pub(crate) fn load(chunk: &[u8; 16]) -> Self {
            Self(load_unaligned_m128i(chunk))
        }

        #[inline]
        pub(crate) fn equal(self, byte: u8) -> u32 {
            mask(self.equal_lanes(byte))
        }

        /// Control characters.
        #[inline]
        pub(crate) fn control(self) -> u32 {
            mask(self.control_lanes())
        }

        /// Quotes, backslashes and control characters.
        #[inline]
        pub(crate) fn special(self) -> u32 {
            // With one bit changed the quote stands right behind the control characters.
            let flipped = bitxor_m128i(self.0, splat(0x02));
            let low = cmp_eq_mask_i8_m128i(min_u8_m128i(flipped, splat(0x20)), flipped);
            mask(bitor_m128i(low, self.equal_lanes(b'\\')))
        }

        #[inline]
        pub(crate) fn lowercase(self) -> Self {
            Self(bitor_m128i(self.0, splat(0x20)))
        }

        #[inline]
        fn equal_lanes(self, byte: u8) -> m128i {
            cmp_eq_mask_i8_m128i(self.0, splat(byte))
        }

        #[inline]
        fn control_lanes(self) -> m128i {
            cmp_eq_mask_i8_m128i(min_u8_m128i(self.0, splat(0x1f)), self.0)
        }
    }

    #[inline]
    fn splat(byte: u8) -> m128i {
        set_splat_i8_m128i(byte.cast_signed())
    }

    #[inline]
    fn mask(lanes: m128i) -> u32 {
        move_mask_i8_m128i(lanes).cast_unsigned()
    }
}

/// The same in two words, for other machines. Tests hold it to the bytes on all of them.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;

    /// A bit per byte that equals zero, in the byte's top bit; exact for every byte.
    #[inline]
    fn zero_bytes(x: u64) -> u64 {
        !(((x & !HIGH) + !HIGH) | x | !HIGH)
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Lanes(u64, u64);

    impl Lanes {
        #[inline]
        #[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
        pub(crate) fn load(chunk: &[u8; 16]) -> Self {
            let bits = u128::from_le_bytes(*chunk);
            Self(bits as u64, (bits >> 64) as u64)
        }

        #[inline]
        fn map(self, f: impl Fn(u64) -> u64) -> u32 {
            gather(f(self.0)) | gather(f(self.1)) << 8
        }

        #[inline]
        pub(crate) fn equal(self, byte: u8) -> u32 {
            let pattern = ONES * u64::from(byte);
            self.map(|x| zero_bytes(x ^ pattern))
        }

        #[inline]
        pub(crate) fn control(self) -> u32 {
            self.map(|x| zero_bytes(x & (ONES * 0xe0)))
        }

        #[inline]
        pub(crate) fn special(self) -> u32 {
            self.map(|x| {
                zero_bytes(x ^ (ONES * 0x22)) | zero_bytes(x ^ (ONES * 0x5c)) | zero_bytes(x & (ONES * 0xe0))
            })
        }

        #[inline]
        pub(crate) fn lowercase(self) -> Self {
            Self(self.0 | (ONES * 0x20), self.1 | (ONES * 0x20))
        }
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "eight bits are left")]
    fn gather(tops: u64) -> u32 {
        (((tops & HIGH) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use simd::Lanes;
#[cfg(not(target_arch = "x86_64"))]
pub(super) use words::Lanes;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Bytes next to those that are looked for, and any others.
    fn byte() -> impl Strategy<Value = u8> {
        let near = b"\"!#\\[]{|};:,-+ \t\n\0\x1e\x1f\x21\x9f\xa0\xa2\xdc\x80\xff\x01".to_vec();
        prop_oneof![prop::sample::select(near), any::<u8>()]
    }

    proptest! {
        #[test]
        fn lanes_find_what_a_loop_over_the_bytes_finds(
            chunk in prop::collection::vec(byte(), 16).prop_map(|v| <[u8; 16]>::try_from(v).unwrap()), wanted in byte(),
        ) {
            let bits = |hit: &dyn Fn(u8) -> bool| {
                chunk.iter().enumerate().fold(0, |bits, (i, byte)| bits | u32::from(hit(*byte)) << i)
            };
            let equal = bits(&|b| b == wanted);
            let lowercase = bits(&|b| b | 0x20 == wanted);
            let control = bits(&|b| b < 0x20);
            let special = bits(&|b| b < 0x20 || b == b'"' || b == b'\\');
            let lanes = super::Lanes::load(&chunk);
            prop_assert_eq!(
                [lanes.equal(wanted), lanes.lowercase().equal(wanted), lanes.control(), lanes.special()],
                [equal, lowercase, control, special]
            );
            let lanes = super::words::Lanes::load(&chunk);
            prop_assert_eq!(
                [lanes.equal(wanted), lanes.lowercase().equal(wanted), lanes.control(), lanes.special()],
                [equal, lowercase, control, special]
            );
        }
    }
}
