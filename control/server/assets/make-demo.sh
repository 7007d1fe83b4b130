#!/bin/sh
# Makes demo.ts: the clip that `freshet serve --demo` plays for ever. Needs ffmpeg with libx264,
# libopus and drawtext, and DejaVu fonts. Picture and sound are drawn by formulas below.
#
# Everything has a period that divides the clip's 8 seconds, so that the seam cannot be seen or
# heard: 240 frames of 1/30 s, 400 Opus packets of 20 ms. No B-frames, a keyframe every 2 s.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sans=${SANS:-/usr/share/fonts/truetype/dejavu/DejaVuSans-ExtraLight.ttf}
mono=${MONO:-/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf}

# A wave: 0 above its line, 1 below, soft edge. Place, height, waves across, rounds in 8 s, softness.
wave() {
    echo "clip((Y-H*($1+$2*sin(2*PI*($3*X/W+$4*T/8))+$2*0.5*sin(2*PI*(2*$3*X/W-$4*T/8+0.3))))/$5,0,1)"
}
back=$(wave 0.52 0.050 1 1 3)
middle=$(wave 0.64 0.045 1.5 -2 2)
front=$(wave 0.78 0.040 2 3 2)

# Picture: waves drawn small and scaled up; a ball that bobs on them; title and clock.
ffmpeg -v error -y \
    -f lavfi -i "nullsrc=s=320x180:r=30:d=8,format=yuv444p,geq=\
lum='20+16*(1-Y/H)+16*$back+20*$middle+26*$front':\
cb='136+8*$back+6*$middle+2*$front':\
cr='122-8*$back-8*$middle-10*$front',scale=1280:720:flags=bicubic,format=yuv420p" \
    -f lavfi -i "nullsrc=s=48x48:r=30:d=8,format=yuva420p,geq=\
lum=226:cb=112:cr=136:a='255*clip(23-hypot(X-23.5,Y-23.5),0,1)'" \
    -filter_complex "[0][1]overlay=format=yuv420:\
x='616+460*sin(2*PI*t/8)':\
y='400+26*sin(2*PI*(t/4))-abs(70*sin(2*PI*t/2))',\
drawtext=fontfile=$sans:text='Freshet':fontsize=132:fontcolor=0xF2F7F7:x=(w-tw)/2:y=150,\
drawtext=fontfile=$mono:text='%{pts\\:hms}':fontsize=40:fontcolor=0xBFE3E0:x=(w-tw)/2:y=318[v]" \
    -map '[v]' -c:v libx264 -preset slow -profile:v main -pix_fmt yuv420p \
    -bf 0 -g 60 -keyint_min 60 -sc_threshold 0 -x264-params open-gop=0:slices=1 \
    -b:v 1000k -maxrate 1400k -bufsize 700k -frames:v 240 "$work/video.mp4"

# Sound: a broken chord of eight notes, four chords in 8 s, over a soft low tone.
chord="floor(mod(t,8)/2)"
step="floor(mod(t,2)*4)"
root="(-3*eq($chord,1)-7*eq($chord,2)-5*eq($chord,3))"
note="(7*eq($step,1)+12*eq($step,2)+(16-eq($chord,1))*(eq($step,3)+eq($step,5))+19*eq($step,4)\
+12*eq($step,6)+7*eq($step,7))"
pluck="st(0,mod(t,0.25));st(1,2*PI*ld(0)*130.81*pow(2,($root+$note)/12));\
0.22*(1-exp(-300*ld(0)))*exp(-8*ld(0))*(1-pow(4*ld(0),8))*(sin(ld(1))+0.35*sin(2*ld(1)))"
low="st(2,mod(t,2));0.10*pow(sin(PI*ld(2)/2),2)*sin(2*PI*ld(2)*65.41*pow(2,$root/12))"
sound="($pluck)+($low)"
# Three rounds are encoded and the middle one is taken: the coder comes out as it went in.
ffmpeg -v error -y -f lavfi -i "aevalsrc=exprs='$sound|0.92*($sound)':s=48000:d=24" \
    -c:a libopus -b:a 64k -application audio -frame_duration 20 "$work/sound.ogg"
ffmpeg -v error -y -ss 8 -i "$work/sound.ogg" -c copy -frames:a 400 "$work/round.ogg"

ffmpeg -v error -y -i "$work/video.mp4" -i "$work/round.ogg" -map 0:v -map 1:a -c copy \
    -bsf:v h264_mp4toannexb -muxdelay 0 -muxpreload 0 -pes_payload_size 0 -pat_period 1 \
    -metadata service_name=Freshet -metadata service_provider=Freshet -f mpegts demo.ts
ls -l demo.ts
